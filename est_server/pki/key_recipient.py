"""Who can open the envelope around a server-made key (RFC 7030 4.4.1.1, 4.4.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from est_server.pki.key_protection import algorithms_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.pki.key_protection import Algorithms
    from est_server.wire.key_protection import Capability


@dataclass(frozen=True, slots=True)
class KeyRecipient:
    """One recipient and the algorithms for it.

    Attributes:
        algorithms: what to use.
        certificate: for ``ktri`` and ``kari``.
        identifier: for ``kekri``: the key's, as the client sent it.
        kek: for ``kekri``: the key that both sides have.
    """

    algorithms: Algorithms
    certificate: x509.Certificate | None = None
    identifier: bytes = b""
    kek: bytes = field(default=b"", repr=False)


def with_secret_key(
    capabilities: Sequence[Capability], identifier: bytes, kek: bytes
) -> KeyRecipient:
    """Return the recipient that holds a secret key.

    Raises:
        ValueError: no algorithm fits.
    """
    return KeyRecipient(algorithms_for(capabilities, len(kek)), identifier=identifier, kek=kek)


def with_certificate(
    capabilities: Sequence[Capability], certificate: x509.Certificate
) -> KeyRecipient:
    """Return the recipient that holds a certificate's key.

    Raises:
        ValueError: no algorithm fits, or the certificate's keyUsage does not let its key be used
            for this (RFC 5280 4.2.1.3).
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise ValueError("its key can neither transport keys nor agree on them")  # noqa: TRY004 - a fact about a certificate, not about a caller
    algorithms = algorithms_for(capabilities, key)
    bit = "keyEncipherment" if algorithms.kind == "ktri" else "keyAgreement"
    if not _may(certificate, bit):
        raise ValueError(f"its keyUsage has no {bit}")
    return KeyRecipient(algorithms, certificate=certificate)


def names_certificate(identifier: bytes, certificate: x509.Certificate) -> bool:
    """Tell whether an AsymmetricDecryptKeyIdentifier means this certificate's key.

    RFC 7030 leaves the octets to both sides: here they are the certificate's subjectKeyIdentifier,
    or without one the SHA-1 of its key, the first method of RFC 5280 4.2.1.2.
    """
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        found = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    return found.digest == identifier


def _may(certificate: x509.Certificate, bit: str) -> bool:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return True
    return usage.key_encipherment if bit == "keyEncipherment" else usage.key_agreement

"""The client's side of serverkeygen (RFC 7030 4.4): what is asked for, and what came back."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import typer
from asn1crypto import core
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key

from est_server.cli.client_request import load_key, make_csr, own_certificate
from est_server.errors import Malformed
from est_server.pki.keys import generate_key
from est_server.wire.cms import parse_certs_only
from est_server.wire.cms_enveloped import AES_CBC, AES_WRAP, SIGNED_DATA, STD_DH
from est_server.wire.cms_open import open_envelope
from est_server.wire.cms_signed import KEY_PACKAGE, unpack_key_package, verify_signed
from est_server.wire.key_protection import (
    ASYMMETRIC_DECRYPT_KEY_IDENTIFIER,
    DECRYPT_KEY_IDENTIFIER,
    SMIME_CAPABILITIES,
    Capability,
    encode_capabilities,
    encode_identifier,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.wire.cms_open import Opener
    from est_server.wire.multipart import Part

_RSA = Capability("1.2.840.113549.1.1.1")
_ENCRYPTED = "server-generated-key"


@dataclass(frozen=True, slots=True)
class Protection:
    """What encrypts the key on its way; without anything, TLS alone.

    Attributes:
        attributes: of the request: OID and DER of the value.
        opener: opens what comes back.
    """

    attributes: tuple[tuple[str, bytes], ...] = ()
    opener: Opener | None = field(default=None, repr=False)


def for_certificate(certificate: Path, key: Path) -> Protection:
    """Return the protection by the key of a certificate that the server knows.

    Raises:
        Malformed: ``client.certificate``, ``client.key``.
    """
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
    except ValueError as error:
        raise Malformed("client.certificate", f"{certificate} is no PEM certificate") from error
    private = load_key(key)
    wanted = [Capability(oid) for oid in AES_CBC.values()]
    match private:
        case rsa.RSAPrivateKey():
            wanted.append(_RSA)
        case ec.EllipticCurvePrivateKey():
            wanted += [Capability(oid) for oid in (*STD_DH.values(), *AES_WRAP.values())]
        case _:
            raise Malformed("client.key", f"{key} can't be encrypted for: neither RSA nor EC")
    try:
        identifier = found.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        identifier = x509.SubjectKeyIdentifier.from_public_key(found.public_key())
    return Protection(
        (
            (ASYMMETRIC_DECRYPT_KEY_IDENTIFIER, encode_identifier(identifier.digest)),
            (SMIME_CAPABILITIES, encode_capabilities(wanted)),
        ),
        private,
    )


def for_secret(identifier: str, file: Path) -> Protection:
    """Return the protection by a secret key that the server has too.

    Args:
        identifier: of the key: text, or hex: and its octets.
        file: the key, in hexadecimal.
    """
    try:
        name = (
            bytes.fromhex(identifier[4:])
            if identifier.startswith("hex:")
            else (identifier.encode("ascii"))
        )
        kek = bytes.fromhex(file.read_text().strip())
    except ValueError as error:
        raise typer.BadParameter("the identifier or the key can't be read") from error
    if len(kek) not in AES_WRAP:
        raise typer.BadParameter("the key has 16, 24 or 32 octets", param_hint="--secret-file")
    wanted = [Capability(oid) for oid in AES_CBC.values()] + [Capability(AES_WRAP[len(kek)])]
    return Protection(
        (
            (DECRYPT_KEY_IDENTIFIER, encode_identifier(name)),
            (SMIME_CAPABILITIES, encode_capabilities(wanted)),
        ),
        kek,
    )


def make_request(
    algorithm: str,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    protection: Protection,
) -> bytes:
    """Return the DER of a request; its key is thrown away, its algorithm is a wish."""
    csr = make_csr(generate_key(algorithm), subject, names)
    if not protection.attributes:
        return csr
    request = asn1_csr.CertificationRequest.load(csr)
    attributes = request["certification_request_info"]["attributes"]
    for oid, value in protection.attributes:
        values = core.SetOf([core.Any.load(value)], spec=core.Any)
        attributes.append(asn1_csr.CRIAttribute({"type": oid, "values": values}))
    # RFC 7030 4.4.1: the signature, which fits no more, is ignored by the server
    changed: bytes = request.dump(force=True)
    return changed


def read_answer(
    parts: Sequence[Part], protection: Protection, server_certificate: bytes
) -> tuple[CertificateIssuerPrivateKeyTypes, x509.Certificate]:
    """Return the key and its certificate (RFC 7030 4.4.2).

    Args:
        parts: of the answer.
        protection: that was asked for; a key that comes with another one is refused.
        server_certificate: of the TLS connection that brought the answer; an encrypted key must be
            signed with it.

    Raises:
        Malformed: ``remote.parts``, ``remote.key``, ``remote.key-signer``, ``remote.certificate``;
            what the codecs raise.
    """
    if len(parts) != 2:
        raise Malformed("remote.parts", f"the answer has {len(parts)} parts, not two")
    key_part, certificate_part = parts
    encrypted = _ENCRYPTED in key_part.content_type
    if encrypted != (protection.opener is not None):
        text = "the key came encrypted" if encrypted else "the key came without the encryption"
        raise Malformed("remote.key", f"{text} that was not asked for" if encrypted else text)
    pkcs8 = key_part.der
    if protection.opener is not None:
        content_type, content = open_envelope(key_part.der, protection.opener)
        if content_type != SIGNED_DATA:
            raise Malformed("remote.key", "what came encrypted is not signed")
        package, certificates = verify_signed(content, KEY_PACKAGE)
        if certificates[0] != server_certificate:
            raise Malformed("remote.key-signer", "the key is signed by somebody else")
        pkcs8 = unpack_key_package(package)
    try:
        key: Any = load_der_private_key(pkcs8, None)
    except (ValueError, TypeError) as error:
        raise Malformed("remote.key", "the answer has no private key") from error
    return key, own_certificate(parse_certs_only(certificate_part.der), key)

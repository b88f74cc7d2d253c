"""To whom a server-made key is encrypted, and the octets that leave (RFC 7030 4.4.1, 4.4.2)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from est_server.enrollment.device_keys import unseal
from est_server.pki.key_recipient import names_certificate, with_certificate, with_secret_key
from est_server.profiles.decision import KeyDelivery
from est_server.wire.cms_enveloped import (
    AES_BLOCK,
    SIGNED_DATA,
    envelope,
    key_agreement,
    key_encryption,
    key_transport,
)
from est_server.wire.cms_signed import KEY_PACKAGE, key_package, sign_content
from est_server.wire.key_protection import key_protection

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.enrollment.request import EnrollmentRequest
    from est_server.pki.key_recipient import KeyRecipient
    from est_server.ports.ledger import Ledger
    from est_server.profiles.decision import Identity
    from est_server.wire.cms_enveloped import Recipient
    from est_server.wire.cms_signed import Signer
    from est_server.wire.key_protection import KeyProtection
    from est_server.wire.pkcs10 import CertificationRequest

_MOST_CERTIFICATES = 200


@dataclass(frozen=True, slots=True)
class DeliveredKey:
    """A private key as it leaves; it is kept nowhere.

    Attributes:
        der: PKCS #8, or CMS EnvelopedData around SignedData around a key package.
        encrypted: which of the two.
    """

    der: bytes = field(repr=False)
    encrypted: bool


async def delivery_for(
    ledger: Ledger,
    secret: bytes,
    request: EnrollmentRequest,
    csr: CertificationRequest,
    identity: Identity,
    now: datetime,
) -> KeyDelivery:
    """Return how the key of a serverkeygen is to be delivered.

    Args:
        ledger: where the asker's certificates and secret keys are.
        secret: of this server, under which secret keys are sealed.
        request: its connection may show one more.
        csr: its attributes say what the client wants.
        identity: whose keys count: nobody is given a key that another one can open.
        now: the time.

    Raises:
        Malformed: an attribute can't be read; see `key_protection`.
        BackendUnavailable: ``device-key.sealed``.
    """
    wanted = key_protection(csr.attributes)
    if wanted.symmetric is None and wanted.asymmetric is None:
        return KeyDelivery()
    if wanted.symmetric is not None and wanted.asymmetric is not None:
        return _refused("keygen.two-keys", "the request names two keys to encrypt with, send one")
    if wanted.capabilities is None:
        text = "a key's identifier needs SMIMECapabilities beside it (RFC 7030 4.4.1)"
        return _refused("keygen.capabilities-missing", text)
    if wanted.asymmetric is None:
        return await _symmetric(ledger, secret, wanted, identity)
    certificates = await _certificates(ledger, request, identity, now)
    return _asymmetric(wanted, wanted.asymmetric, certificates)


def deliver(pkcs8: bytes, recipient: KeyRecipient | None, signer: Signer | None) -> DeliveredKey:
    """Return a private key in the form in which it leaves.

    Args:
        pkcs8: DER of its PrivateKeyInfo.
        recipient: who can open it; None for nobody but TLS.
        signer: who vouches for an encrypted key.

    Raises:
        ValueError: it is to be encrypted, and nobody signs.
    """
    if recipient is None:
        return DeliveredKey(pkcs8, encrypted=False)
    if signer is None:
        raise ValueError("an encrypted key needs a signer")
    signed = sign_content(key_package(pkcs8), KEY_PACKAGE, signer)
    content_key = secrets.token_bytes(recipient.algorithms.content_octets)
    made = envelope(
        signed,
        SIGNED_DATA,
        _recipient(recipient, content_key),
        content_key,
        secrets.token_bytes(AES_BLOCK),
    )
    return DeliveredKey(made, encrypted=True)


def _recipient(recipient: KeyRecipient, content_key: bytes) -> Recipient:
    algorithms, certificate = recipient.algorithms, recipient.certificate
    if certificate is None:
        return key_encryption(recipient.identifier, recipient.kek, content_key)
    if algorithms.kind == "ktri":
        return key_transport(certificate, algorithms.transport, content_key)
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("key agreement is for EC keys")
    ephemeral = ec.generate_private_key(key.curve)
    return key_agreement(
        certificate, ephemeral, algorithms.kdf, algorithms.wrap_octets, content_key
    )


async def _symmetric(
    ledger: Ledger, secret: bytes, wanted: KeyProtection, identity: Identity
) -> KeyDelivery:
    name = wanted.symmetric or b""
    found = await ledger.device_keys.get(identity.name, name)
    if found is None:
        text = f"the asker has no secret key {name.hex()} here"
        return _refused("keygen.unknown-key", text)
    kek = unseal(found.sealed, found.device_id, found.key_id, secret)
    try:
        recipient = with_secret_key(wanted.capabilities or (), name, kek)
    except ValueError as error:
        return _refused("keygen.capabilities", f"the key can't be encrypted: {error}")
    return KeyDelivery(recipient=recipient, detail=f"encrypted, kekri for key {name.hex()}")


async def _certificates(
    ledger: Ledger, request: EnrollmentRequest, identity: Identity, now: datetime
) -> list[x509.Certificate]:
    """Return the asker's certificates: the one that authenticated, then ours, newest first."""
    found = []
    if identity.method != "credential" and request.tls.client_chain:
        found.append(x509.load_der_x509_certificate(request.tls.client_chain[0]))
    records = await ledger.certificates(
        identity=identity.name, status="good", limit=_MOST_CERTIFICATES
    )
    found.extend(
        x509.load_der_x509_certificate(record.der)
        for record in records
        if record.der is not None and record.not_before <= now < record.not_after
    )
    return found


def _asymmetric(
    wanted: KeyProtection, identifier: bytes, certificates: list[x509.Certificate]
) -> KeyDelivery:
    named = [one for one in certificates if names_certificate(identifier, one)]
    if not named:
        text = f"no certificate of the asker has the key identifier {identifier.hex()}"
        return _refused("keygen.unknown-key", text)
    try:
        recipient = with_certificate(wanted.capabilities or (), named[0])
    except ValueError as error:
        return _refused("keygen.capabilities", f"the key can't be encrypted: {error}")
    how = f"{recipient.algorithms.kind} for certificate {named[0].serial_number:x}"
    return KeyDelivery(recipient=recipient, detail=f"encrypted, {how}")


def _refused(rule: str, text: str) -> KeyDelivery:
    return KeyDelivery(problem=(rule, text))

"""EnvelopedData for one recipient (RFC 5652 6): the three ways that RFC 7030 4.4.2 names.

    ktri   RSA encrypts the content-encryption key           RFC 3370 4.2.1, RFC 3560
    kari   ephemeral-static ECDH, X9.63 KDF, AES key wrap    RFC 5753 3.1
    kekri  AES key wrap with a key that both sides have      RFC 3565 2.3.2

The content is encrypted with AES in CBC mode (RFC 3565 2.1). `cryptography` envelopes id-data for
RSA alone, so the structures are put together here; every cipher, wrap and agreement is its own.
Nothing here is random: keys, initialisation vectors and ephemeral keys are the caller's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asn1crypto import algos, cms, core, keys
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from cryptography.hazmat.primitives.padding import PKCS7
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

if TYPE_CHECKING:
    from typing import Any

    from cryptography import x509

SIGNED_DATA = "1.2.840.113549.1.7.2"
ENVELOPED_DATA = "1.2.840.113549.1.7.3"
_AES = "2.16.840.1.101.3.4.1"
AES_CBC = {16: f"{_AES}.2", 24: f"{_AES}.22", 32: f"{_AES}.42"}
AES_WRAP = {16: f"{_AES}.5", 24: f"{_AES}.25", 32: f"{_AES}.45"}
"""Object identifiers by the octets of the key."""

STD_DH = {"sha256": "1.3.132.1.11.1", "sha384": "1.3.132.1.11.2", "sha512": "1.3.132.1.11.3"}
"""dhSinglePass-stdDH with the X9.63 KDF, by its hash (RFC 5753 7.1.4)."""

Transport = Literal["pkcs1", "oaep-sha1", "oaep-sha256"]
AES_BLOCK = 16

_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - RSAES-OAEP's default, where it needs no collision resistance
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}


@dataclass(frozen=True, slots=True)
class Recipient:
    """A RecipientInfo, and the version that it demands of EnvelopedData (RFC 5652 6.1)."""

    info: Any
    version: Literal["v0", "v2"]


class _SharedInfo(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    """ECC-CMS-SharedInfo (RFC 5753 7.2)."""

    _fields = [  # noqa: RUF012 - its API
        ("key_info", cms.KeyEncryptionAlgorithm),
        ("entity_u_info", core.OctetString, {"explicit": 0, "optional": True}),
        ("supp_pub_info", core.OctetString, {"explicit": 2}),
    ]


def key_encryption(identifier: bytes, kek: bytes, content_key: bytes) -> Recipient:
    """Return a KEKRecipientInfo (RFC 5652 6.2.3).

    Args:
        identifier: the KEKIdentifier's keyIdentifier.
        kek: 16, 24 or 32 octets.
        content_key: what is wrapped.
    """
    info = {
        "version": "v4",
        "kekid": {"key_identifier": identifier},
        "key_encryption_algorithm": {"algorithm": AES_WRAP[len(kek)]},
        "encrypted_key": aes_key_wrap(kek, content_key),
    }
    return Recipient(cms.RecipientInfo("kekri", info), "v2")


def key_transport(
    certificate: x509.Certificate, transport: Transport, content_key: bytes
) -> Recipient:
    """Return a KeyTransRecipientInfo (RFC 5652 6.2.1).

    Args:
        certificate: of an RSA key.
        transport: PKCS #1 v1.5, or OAEP with this hash for itself and for MGF1.
        content_key: what is encrypted.
    """
    key = certificate.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise TypeError("key transport is for RSA keys")
    info = {
        "version": "v0",
        "rid": cms.RecipientIdentifier("issuer_and_serial_number", _named(certificate)),
        "key_encryption_algorithm": _transport_algorithm(transport),
        "encrypted_key": key.encrypt(content_key, _transport_padding(transport)),
    }
    return Recipient(cms.RecipientInfo("ktri", info), "v0")


def key_agreement(
    certificate: x509.Certificate,
    ephemeral: ec.EllipticCurvePrivateKey,
    kdf: str,
    wrap_octets: int,
    content_key: bytes,
) -> Recipient:
    """Return a KeyAgreeRecipientInfo (RFC 5652 6.2.2).

    Args:
        certificate: of an EC key.
        ephemeral: used once, on the same curve.
        kdf: ``sha256``, ``sha384`` or ``sha512``.
        wrap_octets: 16, 24 or 32, of the key that wraps.
        content_key: what is wrapped.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise TypeError("key agreement is for EC keys")
    kek = agreed_key(ephemeral, key, kdf, wrap_octets)
    spki = ephemeral.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = {
        "version": "v3",
        "originator": cms.OriginatorIdentifierOrKey(
            "originator_key", keys.PublicKeyInfo.load(spki)
        ),
        "key_encryption_algorithm": {
            "algorithm": STD_DH[kdf],
            "parameters": cms.KeyEncryptionAlgorithm({"algorithm": AES_WRAP[wrap_octets]}),
        },
        "recipient_encrypted_keys": [
            {
                "rid": cms.KeyAgreementRecipientIdentifier(
                    "issuer_and_serial_number", _named(certificate)
                ),
                "encrypted_key": aes_key_wrap(kek, content_key),
            }
        ],
    }
    return Recipient(cms.RecipientInfo("kari", info), "v2")


def agreed_key(
    own: ec.EllipticCurvePrivateKey,
    peer: ec.EllipticCurvePublicKey,
    kdf: str,
    octets: int,
    user_keying_material: bytes | None = None,
) -> bytes:
    """Return the key-encryption key of an agreement (RFC 5753 3.1.2, 7.2)."""
    shared: dict[str, Any] = {
        "key_info": {"algorithm": AES_WRAP[octets]},
        "supp_pub_info": (octets * 8).to_bytes(4, "big"),
    }
    if user_keying_material is not None:
        shared["entity_u_info"] = user_keying_material
    info: bytes = _SharedInfo(shared).dump()
    secret = own.exchange(ec.ECDH(), peer)
    return X963KDF(algorithm=_HASHES[kdf], length=octets, sharedinfo=info).derive(secret)


def envelope(
    content: bytes, content_type: str, recipient: Recipient, content_key: bytes, vector: bytes
) -> bytes:
    """Return the DER of a ContentInfo with EnvelopedData.

    Args:
        content: DER of the content, whole.
        content_type: its OID.
        recipient: who can open it; made with the same `content_key`.
        content_key: 16, 24 or 32 random octets, used once.
        vector: 16 random octets.
    """
    pad = PKCS7(AES_BLOCK * 8).padder()
    encryptor = Cipher(algorithms.AES(content_key), modes.CBC(vector)).encryptor()
    encrypted = encryptor.update(pad.update(content) + pad.finalize()) + encryptor.finalize()
    made: bytes = cms.ContentInfo(
        {
            "content_type": ENVELOPED_DATA,
            "content": cms.EnvelopedData(
                {
                    "version": recipient.version,
                    "recipient_infos": [recipient.info],
                    "encrypted_content_info": {
                        "content_type": content_type,
                        "content_encryption_algorithm": {
                            "algorithm": AES_CBC[len(content_key)],
                            "parameters": core.OctetString(vector),
                        },
                        "encrypted_content": encrypted,
                    },
                }
            ),
        }
    ).dump()
    return made


def _named(certificate: x509.Certificate) -> dict[str, Any]:
    parsed = asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))
    return {"issuer": parsed.issuer, "serial_number": parsed.serial_number}


def _transport_algorithm(transport: Transport) -> dict[str, Any]:
    if transport == "pkcs1":
        return {"algorithm": "rsaes_pkcs1v15"}
    digest = {"algorithm": transport.removeprefix("oaep-")}
    parameters = algos.RSAESOAEPParams(
        {
            "hash_algorithm": digest,
            "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": digest},
        }
    )
    return {"algorithm": "rsaes_oaep", "parameters": parameters}


def _transport_padding(transport: Transport) -> padding.AsymmetricPadding:
    if transport == "pkcs1":
        return padding.PKCS1v15()
    return oaep(transport.removeprefix("oaep-"))


def oaep(digest: str) -> padding.OAEP:
    """Return RSAES-OAEP with one hash for itself and for MGF1 (RFC 3560)."""
    return padding.OAEP(padding.MGF1(_HASHES[digest]), _HASHES[digest], None)

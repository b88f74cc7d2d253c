"""Opening EnvelopedData: the receiving side of `est_server.wire.cms_enveloped`, for clients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asn1crypto import cms, core
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from cryptography.hazmat.primitives.padding import PKCS7

from est_server.errors import Malformed
from est_server.wire.cms_enveloped import (
    AES_BLOCK,
    AES_CBC,
    AES_WRAP,
    ENVELOPED_DATA,
    STD_DH,
    agreed_key,
    oaep,
)
from est_server.wire.der import children, read_element, require_one_sequence

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST = 65536
_CIPHERS = {oid: octets for octets, oid in AES_CBC.items()}
_WRAPS = {oid: octets for octets, oid in AES_WRAP.items()}
_KDFS = {oid: name for name, oid in STD_DH.items()}
Opener = bytes | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
"""A key-encryption key, or the private key of the recipient's certificate."""


def open_envelope(der: bytes, opener: Opener) -> tuple[str, bytes]:
    """Return the content type and the content of EnvelopedData with one recipient.

    What is wrong with a message that decrypts to nothing sensible is not told apart: the padding
    of its content would otherwise be an oracle.

    Raises:
        Malformed: ``enveloped.encoding``, ``enveloped.trailing-bytes``, ``enveloped.too-large``,
            ``enveloped.key`` if this key does not open it.
    """
    if len(der) > LARGEST:
        raise Malformed("enveloped.too-large", f"the message has more than {LARGEST} octets")
    require_one_sequence(der, "enveloped")
    try:
        outer = cms.ContentInfo.load(der, strict=True)
        if outer["content_type"].dotted != ENVELOPED_DATA:
            raise Malformed("enveloped.encoding", "this is not EnvelopedData")
        enveloped = outer["content"]
        (recipient,) = enveloped["recipient_infos"]
        encrypted = enveloped["encrypted_content_info"]
        octets = _CIPHERS[encrypted["content_encryption_algorithm"]["algorithm"].dotted]
        vector = _octets(encrypted["content_encryption_algorithm"]["parameters"].native)
        content_type: str = encrypted["content_type"].dotted
        content = _octets(encrypted["encrypted_content"].native)
        wrapped = _wrapped(recipient, opener)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError,
            UnsupportedAlgorithm) as error:  # fmt: skip
        raise Malformed("enveloped.encoding", "this is not EnvelopedData for such a key") from error
    try:
        return content_type, _decrypted(_unwrapped(wrapped, opener), octets, vector, content)
    except (ValueError, InvalidUnwrap) as error:
        raise Malformed("enveloped.key", "this key does not open the message") from error


def _octets(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise TypeError("not an OCTET STRING")
    return value


def _wrapped(recipient: Any, opener: Opener) -> Mapping[str, Any]:
    """Return what `_unwrapped` needs, read from the RecipientInfo that is for this kind of key."""
    info = recipient.chosen
    algorithm = info["key_encryption_algorithm"]
    match recipient.name, opener:
        case "kekri", bytes():
            if _WRAPS[algorithm["algorithm"].dotted] != len(opener):
                raise ValueError("a key of another length")
            return {"encrypted": _octets(info["encrypted_key"].native)}
        case "ktri", rsa.RSAPrivateKey():
            return {
                "encrypted": _octets(info["encrypted_key"].native),
                "padding": _padding(algorithm),
            }
        case "kari", ec.EllipticCurvePrivateKey():
            return _agreement(info, opener)
    raise ValueError("for another kind of key")


def _agreement(info: Any, opener: ec.EllipticCurvePrivateKey) -> Mapping[str, Any]:
    algorithm = info["key_encryption_algorithm"]
    wrap = algorithm["parameters"].parse(cms.KeyEncryptionAlgorithm)
    # RFC 5753 3.1.1: the originator's key may leave its curve out; it is the recipient's
    _, bits = children(info["originator"].chosen.untag().dump())
    _, start, _ = read_element(bits)
    peer = ec.EllipticCurvePublicKey.from_encoded_point(opener.curve, bits[start + 1 :])
    (only,) = info["recipient_encrypted_keys"]
    material = info["ukm"]
    return {
        "encrypted": _octets(only["encrypted_key"].native),
        "peer": peer,
        "kdf": _KDFS[algorithm["algorithm"].dotted],
        "octets": _WRAPS[wrap["algorithm"].dotted],
        "material": None if isinstance(material, core.Void) else material.native,
    }


def _unwrapped(wrapped: Mapping[str, Any], opener: Opener) -> bytes:
    if isinstance(opener, bytes):
        return aes_key_unwrap(opener, wrapped["encrypted"])
    if isinstance(opener, rsa.RSAPrivateKey):
        return opener.decrypt(wrapped["encrypted"], wrapped["padding"])
    kek = agreed_key(
        opener, wrapped["peer"], wrapped["kdf"], wrapped["octets"], wrapped["material"]
    )
    return aes_key_unwrap(kek, wrapped["encrypted"])


def _decrypted(key: bytes, octets: int, vector: bytes, content: bytes) -> bytes:
    if len(key) != octets:
        raise ValueError("a key of another length")
    decryptor = Cipher(algorithms.AES(key), modes.CBC(vector)).decryptor()
    padded = decryptor.update(content) + decryptor.finalize()
    unpad = PKCS7(AES_BLOCK * 8).unpadder()
    return unpad.update(padded) + unpad.finalize()


def _padding(algorithm: Any) -> padding.AsymmetricPadding:
    if algorithm["algorithm"].native == "rsaes_pkcs1v15":
        return padding.PKCS1v15()
    if algorithm["algorithm"].native != "rsaes_oaep":
        raise ValueError("another key transport")
    parameters = algorithm["parameters"]
    digest: str = parameters["hash_algorithm"]["algorithm"].native
    if parameters["mask_gen_algorithm"]["parameters"]["algorithm"].native != digest:
        raise ValueError("two hashes in one OAEP")
    return oaep(digest)

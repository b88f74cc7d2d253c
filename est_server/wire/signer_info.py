"""One signature in a SignedData, checked with a key that the caller chose (RFC 5652 5.3, 5.4).

    SignerInfo ::= SEQUENCE {
        version            CMSVersion,
        sid                SignerIdentifier,
        digestAlgorithm    DigestAlgorithmIdentifier,
        signedAttrs        [0] IMPLICIT SET SIZE (1..MAX) OF Attribute OPTIONAL,
        signatureAlgorithm SignatureAlgorithmIdentifier,
        signature          OCTET STRING,
        unsignedAttrs      [1] IMPLICIT ... OPTIONAL }

What is signed are the signed attributes, and among them the content's type and digest: without
them any other content could stand in its place, so they are required for everything but id-data.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from asn1crypto import core
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa

from est_server.errors import Malformed

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_MOST_ATTRIBUTES = 32

HASHES: dict[str, hashes.HashAlgorithm] = {
    "2.16.840.1.101.3.4.2.1": hashes.SHA256(),
    "2.16.840.1.101.3.4.2.2": hashes.SHA384(),
    "2.16.840.1.101.3.4.2.3": hashes.SHA512(),
}
_ECDSA = {
    "1.2.840.10045.4.3.2": hashes.SHA256(),
    "1.2.840.10045.4.3.3": hashes.SHA384(),
    "1.2.840.10045.4.3.4": hashes.SHA512(),
}
_RSA = {
    "1.2.840.113549.1.1.11": hashes.SHA256(),
    "1.2.840.113549.1.1.12": hashes.SHA384(),
    "1.2.840.113549.1.1.13": hashes.SHA512(),
}
_RSA_ENCRYPTION = "1.2.840.113549.1.1.1"  # RFC 3370 3.2: with the digestAlgorithm's hash
_PURE = (  # RFC 8419, RFC 9882: the key's own algorithm, whatever the digest
    (ed25519.Ed25519PublicKey, "1.3.101.112"),
    (ed448.Ed448PublicKey, "1.3.101.113"),
    (mldsa.MLDSA44PublicKey, "2.16.840.1.101.3.4.3.17"),
    (mldsa.MLDSA65PublicKey, "2.16.840.1.101.3.4.3.18"),
    (mldsa.MLDSA87PublicKey, "2.16.840.1.101.3.4.3.19"),
)


def require_signature(
    info: Any, key: PublicKeyTypes, content: bytes, content_type: str, rule: str
) -> None:
    """Return if `key` made this signature over `content`.

    Args:
        info: asn1crypto's SignerInfo.
        key: the signer's.
        content: the octets of the encapsulated content.
        content_type: its OID; not id-data.
        rule: first part of the rules raised.

    Raises:
        Malformed: ``<rule>.algorithm`` for one that is not known or not allowed;
            ``<rule>.signature`` if it does not fit.
        ValueError, TypeError, KeyError: the structure is not what it should be.
    """
    # 1 the attributes bind the content
    hashed = HASHES.get(info["digest_algorithm"]["algorithm"].dotted)
    if hashed is None:
        raise Malformed(f"{rule}.algorithm", "the digest algorithm is not SHA-2")
    attributes = _attributes(info["signed_attrs"])
    digest = hashes.Hash(hashed)
    digest.update(content)
    found = attributes.get(_CONTENT_TYPE), attributes.get(_MESSAGE_DIGEST)
    if found[0] is None or found[1] is None:
        raise Malformed(f"{rule}.signature", "the content is not bound by signed attributes")
    bound = core.ObjectIdentifier.load(found[0], strict=True).dotted == content_type
    same = hmac.compare_digest(
        core.OctetString.load(found[1], strict=True).native, digest.finalize()
    )
    # 2 the signature binds the attributes: as a SET OF, not under the field's own tag
    signed = info["signed_attrs"].untag().dump()
    if not bound or not same or not _fits(info, key, signed, hashed, rule):
        raise Malformed(f"{rule}.signature", "the signature does not fit the content")


def _attributes(sent: Any) -> dict[str, bytes]:
    if isinstance(sent, core.Void):
        return {}
    if len(sent) > _MOST_ATTRIBUTES:
        raise ValueError("too many signed attributes")
    found: dict[str, bytes] = {}
    for attribute in sent:
        oid = attribute["type"].dotted
        values = core.SetOf.load(attribute["values"].dump(), spec=core.Any)
        if oid in found or len(values) != 1:  # RFC 5652 11: one instance, one value
            raise ValueError("a signed attribute stands twice")
        found[oid] = values[0].dump()
    return found


def _fits(
    info: Any, key: PublicKeyTypes, signed: bytes, hashed: hashes.HashAlgorithm, rule: str
) -> bool:
    algorithm = info["signature_algorithm"]["algorithm"].dotted
    signature = info["signature"].native
    try:
        if isinstance(key, ec.EllipticCurvePublicKey) and algorithm in _ECDSA:
            key.verify(signature, signed, ec.ECDSA(_ECDSA[algorithm]))
            return True
        if isinstance(key, rsa.RSAPublicKey) and algorithm in {*_RSA, _RSA_ENCRYPTION}:
            key.verify(signature, signed, padding.PKCS1v15(), _RSA.get(algorithm, hashed))
            return True
        for kind, oid in _PURE:
            if isinstance(key, kind) and algorithm == oid:
                key.verify(signature, signed)
                return True
    except InvalidSignature:
        return False
    raise Malformed(
        f"{rule}.algorithm", "the signature's algorithm is not one for the signer's key"
    )

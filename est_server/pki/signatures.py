"""Signatures by a CA's own key, over structures that no library builds for us."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from asn1crypto import csr
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.pki.authority import signature_hash

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes


def signature_algorithm(
    key: CertificateIssuerPrivateKeyTypes, padding: PKCS1v15 | PSS | None = None
) -> bytes:
    """Return the DER AlgorithmIdentifier of this key's signatures.

    The library knows it for every key, and says it in what it signs.

    Args:
        key: the CA's.
        padding: of an RSA key; None for PKCS #1 v1.5.
    """
    signed = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .sign(key, signature_hash(key), rsa_padding=padding)
    )
    request = csr.CertificationRequest.load(signed.public_bytes(Encoding.DER))
    found: bytes = request["signature_algorithm"].dump()
    return found


def sign_and_check(key: CertificateIssuerPrivateKeyTypes, tbs: bytes) -> bytes:
    """Return the signature over `tbs`, checked with the public key.

    hashlib hashes without the interpreter's lock, which megabytes would hold for long.

    Raises:
        InvalidSignature: what the key made does not verify.
        ValueError: a key that does not sign.
    """
    if isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        chosen = signature_hash(key)
        if chosen is None:
            raise ValueError("this key signs hashes, and none is chosen for it")
        digest = hashlib.new(chosen.name, tbs).digest()
        hashed = Prehashed(chosen)
        if isinstance(key, rsa.RSAPrivateKey):
            signature = key.sign(digest, PKCS1v15(), hashed)
            key.public_key().verify(signature, digest, PKCS1v15(), hashed)
            return signature
        signature = key.sign(digest, ec.ECDSA(hashed))
        key.public_key().verify(signature, digest, ec.ECDSA(hashed))
        return signature
    if isinstance(key, dsa.DSAPrivateKey):
        raise ValueError("DSA signs nothing new (FIPS 186-5 4)")  # noqa: TRY004 - a value, of a type that libraries still have
    signature = key.sign(tbs)
    key.public_key().verify(signature, tbs)
    return signature

"""The holder of a certificate's key, and the certificate that a statement names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from est_server.attestation.reading import certificate, sha256
from est_server.ports.verifier import EvidenceRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509


def named_certificate(
    pool: Sequence[bytes], digest: bytes, code: str
) -> tuple[x509.Certificate, list[bytes]]:
    """Return the certificate with this SHA-256, and the others.

    Raises:
        EvidenceRefused: ``<code>.certificate-missing``, ``certificate.malformed``.
    """
    found = next((der for der in pool if sha256(der) == digest), None)
    if found is None:
        raise EvidenceRefused(f"{code}.certificate-missing", digest.hex(), f"{len(pool)} sent")
    return certificate(found), [der for der in pool if der != found]


def verify_possession(leaf: x509.Certificate, signature: bytes, signed: bytes, code: str) -> None:
    """Return if the key of `leaf` made the signature.

    ECDSA with the hash of the curve's strength, Ed25519, or PKCS #1 v1.5 with SHA-256.

    Raises:
        EvidenceRefused: ``<code>.signature``, ``<code>.key-unsupported``.
    """
    key = leaf.public_key()
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                hashes = {256: SHA256(), 384: SHA384(), 521: SHA512()}
                key.verify(signature, signed, ec.ECDSA(hashes[key.curve.key_size]))
            case ed25519.Ed25519PublicKey():
                key.verify(signature, signed)
            case rsa.RSAPublicKey() if key.key_size >= 2048:
                key.verify(signature, signed, padding.PKCS1v15(), SHA256())
            case _:
                raise EvidenceRefused(f"{code}.key-unsupported", actual=type(key).__name__)
    except KeyError as error:
        raise EvidenceRefused(f"{code}.key-unsupported", actual=str(error)) from error
    except InvalidSignature as error:
        raise EvidenceRefused(
            f"{code}.signature",
            "the certificate's over nonce and key",
            leaf.subject.rfc4514_string(),
        ) from error

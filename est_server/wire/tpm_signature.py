"""A TPM's signature (TPM 2.0 Part 2, 11.3.4), and whether it fits.

    TPMT_SIGNATURE ::= sigAlg  u16
                       RSASSA, RSAPSS: hash u16, sig TPM2B
                       ECDSA:          hash u16, r TPM2B, s TPM2B

Some devices send the bare PKCS #1 v1.5 value of an RSA key in its place, as long as the modulus;
a TPMT_SIGNATURE of the same key is six octets longer. A bare value names no hash: the reader does.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from est_server.errors import Malformed
from est_server.wire import tpm_algorithms as algorithms
from est_server.wire.tpm_buffer import Reader

SigningKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
MOST_OCTETS = 1100
_RULE = "tpm-signature"
_ALGORITHMS = frozenset({algorithms.RSASSA, algorithms.RSAPSS, algorithms.ECDSA})


@dataclass(frozen=True, slots=True)
class TpmSignature:
    """One signature.

    Attributes:
        algorithm: TPM_ALG_ID: `RSASSA`, `RSAPSS` or `ECDSA`.
        hash: TPM_ALG_ID of its hash, one of `tpm_algorithms.HASHES`.
        value: as `cryptography` takes it: the RSA value, or DER of r and s.
    """

    algorithm: int
    hash: int
    value: bytes = field(repr=False)


def parse_signature(data: bytes, key: SigningKey, bare_hash: int) -> TpmSignature:
    """Read the signature that `key` is said to have made, in either form.

    Args:
        data: the signature.
        key: the signer's.
        bare_hash: TPM_ALG_ID of the hash that a bare value is made with.

    Raises:
        Malformed: ``tpm-signature.too-large``, ``tpm-signature.truncated``,
            ``tpm-signature.trailing-bytes``, ``tpm-signature.algorithm``, ``tpm-signature.hash``.
    """
    if isinstance(key, rsa.RSAPublicKey) and len(data) == (key.key_size + 7) // 8:
        _require_hash(bare_hash)
        return TpmSignature(algorithms.RSASSA, bare_hash, data)
    reader = Reader(data, _RULE, MOST_OCTETS)
    algorithm = reader.number(2)
    if algorithm not in _ALGORITHMS:
        raise Malformed(
            "tpm-signature.algorithm", f"algorithm 0x{algorithm:04x} is no signature that counts"
        )
    hash_algorithm = reader.number(2)
    _require_hash(hash_algorithm)
    if algorithm == algorithms.ECDSA:
        r, s = (int.from_bytes(reader.sized(), "big") for _ in "rs")
        value = encode_dss_signature(r, s)
    else:
        value = reader.sized()
    reader.end()
    return TpmSignature(algorithm, hash_algorithm, value)


def verify_tpm_signature(signature: TpmSignature, key: SigningKey, data: bytes) -> None:
    """Check that `key` signed `data`.

    Raises:
        Malformed: ``tpm-signature.algorithm`` if this kind of key makes no such signatures;
            ``tpm-signature.invalid``.
    """
    hash_algorithm = algorithms.HASHES[signature.hash]
    is_ecdsa = signature.algorithm == algorithms.ECDSA
    if is_ecdsa != isinstance(key, ec.EllipticCurvePublicKey):
        raise Malformed("tpm-signature.algorithm", "the key makes no signatures of this kind")
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature.value, data, ec.ECDSA(hash_algorithm))
        elif signature.algorithm == algorithms.RSASSA:
            key.verify(signature.value, data, padding.PKCS1v15(), hash_algorithm)
        else:
            mask = padding.MGF1(hash_algorithm)
            key.verify(signature.value, data, padding.PSS(mask, padding.PSS.AUTO), hash_algorithm)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise Malformed("tpm-signature.invalid", "the key did not sign this") from error


def _require_hash(algorithm: int) -> None:
    if algorithm not in algorithms.HASHES:
        raise Malformed("tpm-signature.hash", f"hash 0x{algorithm:04x} is not strong enough")

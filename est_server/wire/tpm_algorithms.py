"""TPM_ALG_ID and TPM_ECC_CURVE (TPM 2.0 Part 2, 6.3 and 6.4), as far as they may be believed.

SHA-1 is no hash here: neither for a signature nor for the Name that ties a statement to a key.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

RSA = 0x0001
ECC = 0x0023
NULL = 0x0010
RSASSA = 0x0014
RSAES = 0x0015
RSAPSS = 0x0016
OAEP = 0x0017
ECDSA = 0x0018
ECDAA = 0x001A

SHA1 = 0x0004
SHA256 = 0x000B
SHA384 = 0x000C
SHA512 = 0x000D

HASHES: dict[int, hashes.HashAlgorithm] = {
    SHA256: hashes.SHA256(),
    SHA384: hashes.SHA384(),
    SHA512: hashes.SHA512(),
}
BANKS = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384", SHA512: "sha512"}
"""How PCR banks are called; a bank that is not in HASHES can be named but proves nothing."""
CURVES: dict[int, ec.EllipticCurve] = {
    0x0003: ec.SECP256R1(),
    0x0004: ec.SECP384R1(),
    0x0005: ec.SECP521R1(),
}


def digest(algorithm: int, data: bytes) -> bytes:
    """Return the digest of `data` by an algorithm of `HASHES`."""
    context = hashes.Hash(HASHES[algorithm])
    context.update(data)
    return context.finalize()

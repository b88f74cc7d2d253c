"""Which keys are good enough, and what their algorithms are called in certificates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, rsa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        PublicKeyTypes,
    )

FEWEST_RSA_BITS = 2048
MOST_RSA_BITS = 8192
"""Checking a signature by a larger key costs milliseconds, which anybody could ask for."""

_RSA = re.compile(r"RSA-([1-9][0-9]{3,4})(\+?)")
_GENERATORS: dict[str, Callable[[], CertificateIssuerPrivateKeyTypes]] = {
    "EC-P256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EC-P384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "EC-P521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "RSA-2048": lambda: rsa.generate_private_key(65537, 2048),
    "RSA-3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA-4096": lambda: rsa.generate_private_key(65537, 4096),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "ML-DSA-44": mldsa.MLDSA44PrivateKey.generate,
    "ML-DSA-65": mldsa.MLDSA65PrivateKey.generate,
    "ML-DSA-87": mldsa.MLDSA87PrivateKey.generate,
}
KEY_ALGORITHMS = tuple(_GENERATORS)
"""The names that profiles and `init` know."""


def is_key_pattern(text: str) -> bool:
    """Tell whether a profile may say this: one of `KEY_ALGORITHMS`, ``RSA-2048+`` and the like."""
    if text in _GENERATORS:
        return True
    match = _RSA.fullmatch(text)
    return match is not None and FEWEST_RSA_BITS <= int(match[1]) <= MOST_RSA_BITS


def key_allowed(patterns: Iterable[str], algorithm: str) -> bool:
    """Tell whether a profile's patterns take this algorithm.

    ``RSA-3072`` is exactly that size, ``RSA-3072+`` that size and above.
    """
    found = _RSA.fullmatch(algorithm)
    for pattern in patterns:
        if pattern == algorithm:
            return True
        wanted = _RSA.fullmatch(pattern)
        if found and wanted and wanted[2] and int(found[1]) >= int(wanted[1]):
            return True
    return False


def weakness(key: PublicKeyTypes) -> str | None:
    """Return what is wrong with a public key, or None.

    Points off their curve are refused by the library when the key is read.
    """
    if not isinstance(key, rsa.RSAPublicKey):
        return None
    if not FEWEST_RSA_BITS <= key.key_size <= MOST_RSA_BITS:
        return f"RSA keys have {FEWEST_RSA_BITS} to {MOST_RSA_BITS} bits, this one {key.key_size}"
    numbers = key.public_numbers()
    if numbers.e < 65537 or numbers.e % 2 == 0 or numbers.e.bit_length() > 256:
        # FIPS 186-5 5.1: 2^16 < e < 2^256, odd
        return "the RSA exponent must be odd, at least 65537 and below 2^256"
    if any(numbers.n % prime == 0 for prime in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)):
        return "the RSA modulus has a small factor"
    return None


def generate_key(algorithm: str) -> CertificateIssuerPrivateKeyTypes:
    """Return a new private key.

    Raises:
        ValueError: no such algorithm.
    """
    try:
        return _GENERATORS[algorithm]()
    except KeyError:
        names = ", ".join(KEY_ALGORITHMS)
        raise ValueError(f"unknown key algorithm {algorithm!r}; known: {names}") from None

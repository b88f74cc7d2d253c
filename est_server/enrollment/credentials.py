"""Enrollment credentials: passwords made here, passwords people chose, and how they are kept.

A generated password carries 160 random bits, so nobody can guess it and a keyed hash is enough;
that check costs microseconds. A password that a person chose gets Argon2id (RFC 9106), off the
event loop, because cryptography writes and reads its PHC string form and has none for scrypt.
Only the verifier is stored.
"""

from __future__ import annotations

import hmac
import secrets
from hashlib import sha256

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

_GENERATED = "hmac-sha256$"
_ARGON2 = "$argon2id$"
PASSWORD_LIMIT = 256
"""Longest password, in characters, that is looked at; strongSwan's whole header has 256 bytes."""


def generate_password() -> str:
    """Return 27 URL-safe characters with 160 random bits; safe in a shell and in a URL."""
    while True:
        password = secrets.token_urlsafe(20)
        if password[0] not in "-_":  # a leading dash would look like an option
            return password


def hash_generated(password: str, key: bytes) -> str:
    """Return the verifier of a generated password.

    Args:
        password: from `generate_password`.
        key: the server's credential key, at least 32 bytes.
    """
    return _GENERATED + hmac.new(key, password.encode(), sha256).hexdigest()


def hash_chosen(password: str) -> str:
    """Return the verifier of a password that a person chose; takes some 100 ms."""
    # RFC 9106 4: the second recommended option (64 MiB, 3 passes), with one lane
    kdf = Argon2id(
        salt=secrets.token_bytes(16), length=32, iterations=3, lanes=1, memory_cost=65536
    )
    return kdf.derive_phc_encoded(password.encode())


def is_slow(verifier: str) -> bool:
    """Tell whether checking `verifier` is work that does not belong on the event loop."""
    return verifier.startswith(_ARGON2)


def verify(verifier: str, password: str, key: bytes) -> bool:
    """Tell whether `password` is the one behind `verifier`; False for any unknown form."""
    if len(password) > PASSWORD_LIMIT:
        return False
    if verifier.startswith(_GENERATED):
        return hmac.compare_digest(verifier, hash_generated(password, key))
    if verifier.startswith(_ARGON2):
        try:
            Argon2id.verify_phc_encoded(password.encode(), verifier)
        except InvalidKey:
            return False
        return True
    return False

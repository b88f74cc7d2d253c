"""Devices' secret keys at rest: AES-256-GCM under a key derived from the server's own secret.

The derivation (HKDF, RFC 5869) keeps it apart from what else that secret is used for; the device
and the key's name are authenticated with it, so that a row can't be moved to another device.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from est_server.errors import BackendUnavailable, Malformed

_NONCE = 12
LENGTHS = (16, 24, 32)
"""Octets of an AES key (RFC 3565 2.3.2)."""


def seal(key: bytes, device_id: str, key_id: bytes, secret: bytes) -> bytes:
    """Return a key as the ledger keeps it.

    Args:
        key: 16, 24 or 32 octets.
        device_id: whose it is.
        key_id: its name.
        secret: of this server, ``credentials.key`` in server.yaml.

    Raises:
        Malformed: ``device-key.length``.
    """
    if len(key) not in LENGTHS:
        text = f"an AES key has 16, 24 or 32 octets, this one {len(key)}"
        raise Malformed("device-key.length", text)
    nonce = secrets.token_bytes(_NONCE)
    return nonce + _cipher(secret).encrypt(nonce, key, _bound_to(device_id, key_id))


def unseal(sealed: bytes, device_id: str, key_id: bytes, secret: bytes) -> bytes:
    """Return a key that `seal` put away.

    Raises:
        BackendUnavailable: ``device-key.sealed``: it was put away with another secret.
    """
    try:
        return _cipher(secret).decrypt(
            sealed[:_NONCE], sealed[_NONCE:], _bound_to(device_id, key_id)
        )
    except (InvalidTag, ValueError) as error:
        raise BackendUnavailable(
            "device-key.sealed",
            "a device's key can't be read",
            hint=f"credentials.key is another one than when device {device_id} got this key: "
            "add the key again",
        ) from error


def _cipher(secret: bytes) -> AESGCM:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=b"est-server device keys")
    return AESGCM(kdf.derive(secret))


def _bound_to(device_id: str, key_id: bytes) -> bytes:
    name = device_id.encode()
    return len(name).to_bytes(4, "big") + name + key_id

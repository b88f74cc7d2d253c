"""The audit log's signing key, as `init` and `audit init` make it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.pki.authority import encrypt_key

if TYPE_CHECKING:
    from pathlib import Path

KEY, PUBLIC, PASSPHRASE = "keys/audit.key", "keys/audit.pub", "secrets/audit.pass"

SECTION = """\
audit:                             # what was done, provably unchanged: est-server audit verify
  origin: {origin}
  key: file:keys/audit.key
  passphrase: file:secrets/audit.pass
"""


def make_audit_key(base: Path) -> tuple[Path, ...]:
    """Write the key, its passphrase and its public key below a folder; return the files.

    Raises:
        FileExistsError: one of them is there.
    """
    for folder in ("keys", "secrets"):
        (base / folder).mkdir(mode=0o700, exist_ok=True)
    key, passphrase = Ed25519PrivateKey.generate(), secrets.token_urlsafe(32).encode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    contents = {
        KEY: (encrypt_key(key, passphrase), 0o600),
        PASSPHRASE: (passphrase + b"\n", 0o600),
        PUBLIC: (public, 0o644),
    }
    files = tuple(base / name for name in contents)
    for file in files:
        if file.exists():
            raise FileExistsError(17, "it is there", str(file))
    for file, (content, mode) in zip(files, contents.values(), strict=True):
        file.touch(mode=mode, exist_ok=False)
        file.write_bytes(content)
    return files

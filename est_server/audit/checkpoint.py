"""Checkpoints: what the log says of itself, signed, in the form of transparency logs.

A checkpoint is a signed note (C2SP signed-note and tlog-checkpoint) with two lines of our own:

    origin                        which log this is
    size                          how many leaves, decimal
    root                          base64 of the root over them
    time RFC 3339                 when it was signed
    previous base64               SHA-256 of the checkpoint before it; 32 zero octets for the first

    — origin base64               of 4 octets that name the key, and an Ed25519 signature

The signature is over everything up to and with the last newline before the empty line. Since each
checkpoint names the one before, none can be taken out without a trace.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.audit.tree import HASH_SIZE, MOST_LEAVES
from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FIRST = bytes(HASH_SIZE)
"""What the first checkpoint has for the one before it."""

MOST_OCTETS = 4096
_ED25519 = b"\x01"
_SIGNATURE = 64
_KEY_ID = 4
_NOTE = re.compile(
    r"(?P<body>(?P<origin>[^\s+]{1,200})\n(?P<size>0|[1-9][0-9]{0,18})\n(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"time (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)\nprevious (?P<previous>[A-Za-z0-9+/]{43}=)\n)"
    r"\n— (?P<name>[^\s+]{1,200}) (?P<signature>[A-Za-z0-9+/]+=*)\n",
    re.ASCII,
)
_LOGGED = re.compile(r"\bnote=([A-Za-z0-9+/]+=*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A state of the log.

    Attributes:
        origin: which log.
        size: how many leaves it has.
        root: over them.
        at: when it was signed, in whole seconds.
        previous: `note_hash` of the checkpoint before.
    """

    origin: str
    size: int
    root: bytes
    at: datetime
    previous: bytes = FIRST


def note_hash(note: str) -> bytes:
    """Return what the next checkpoint says of this one."""
    return sha256(note.encode()).digest()


def body_of(checkpoint: Checkpoint) -> str:
    """Return the text that is signed."""
    at = checkpoint.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return (
        f"{checkpoint.origin}\n{checkpoint.size}\n{_base64(checkpoint.root)}\n"
        f"time {at}\nprevious {_base64(checkpoint.previous)}\n"
    )


def signed_note(
    checkpoint: Checkpoint, key: Ed25519PublicKey, sign: Callable[[bytes], bytes]
) -> str:
    """Return a checkpoint with its signature.

    Args:
        checkpoint: what is said.
        key: of who says it.
        sign: signs with it.
    """
    body = body_of(checkpoint)
    signature = key_id(checkpoint.origin, key) + sign(body.encode())
    return f"{body}\n— {checkpoint.origin} {_base64(signature)}\n"


def key_id(name: str, key: Ed25519PublicKey) -> bytes:
    """Return the octets that name a key (signed-note: SHA-256 of name, newline, type, key)."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:_KEY_ID]


def verifier_key(name: str, key: Ed25519PublicKey) -> str:
    """Return a key as tools for transparency logs take it (signed-note: vkey)."""
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return f"{name}+{key_id(name, key).hex()}+{_base64(_ED25519 + raw)}"


def read_note(note: str) -> Checkpoint:
    """Read a checkpoint without looking at its signature.

    Raises:
        Malformed: ``audit.checkpoint``.
    """
    return _read(note)[0]


def check_note(note: str, key: Ed25519PublicKey) -> Checkpoint:
    """Read a checkpoint that `key` has signed.

    Raises:
        Malformed: ``audit.checkpoint``: it is none; ``audit.signature``: another key, or nobody,
            signed it.
    """
    checkpoint, body, signature = _read(note)
    if signature[:_KEY_ID] != key_id(checkpoint.origin, key):
        text = f"the checkpoint of {checkpoint.size} leaves names another key"
        raise Malformed("audit.signature", text)
    try:
        key.verify(signature[_KEY_ID:], body)
    except InvalidSignature as error:
        text = f"the signature of the checkpoint of {checkpoint.size} leaves is wrong"
        raise Malformed("audit.signature", text) from error
    return checkpoint


def find_notes(text: str) -> dict[int, str]:
    """Return the checkpoints in an anchor's file, by size: one after the other, or in syslog lines.

    Raises:
        Malformed: ``audit.anchor``: there are none, or there is something else between them, or
            two of them differ and have the same size.
    """
    logged = _LOGGED.findall(text)
    found: dict[int, str] = {}
    for note in [_unlogged(one) for one in logged] or [one[0] for one in _NOTE.finditer(text)]:
        size = read_note(note).size
        if found.setdefault(size, note) != note:
            raise Malformed("audit.anchor", f"two checkpoints of {size} leaves differ")
    if not found or (not logged and _NOTE.sub("", text).strip()):
        raise Malformed("audit.anchor", "this is no file of checkpoints")
    return found


def _unlogged(note: str) -> str:
    try:
        return b64decode(note, validate=True).decode()
    except ValueError as error:
        raise _malformed() from error


def _read(note: str) -> tuple[Checkpoint, bytes, bytes]:
    match = _NOTE.fullmatch(note) if len(note) <= MOST_OCTETS else None
    if match is None or match["name"] != match["origin"]:
        raise _malformed()
    try:
        at = datetime.strptime(match["time"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        signature = b64decode(match["signature"], validate=True)
        root, previous = (b64decode(match[name], validate=True) for name in ("root", "previous"))
        body = match["body"].encode()
    except ValueError as error:
        raise _malformed() from error
    size = int(match["size"])
    if len(signature) != _KEY_ID + _SIGNATURE or size > MOST_LEAVES:
        raise _malformed()
    checkpoint = Checkpoint(match["origin"], size, root, at, previous)
    if body_of(checkpoint).encode() != body:  # base64 has bits that say nothing
        raise _malformed()
    return checkpoint, body, signature


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode()


def _malformed() -> Malformed:
    return Malformed("audit.checkpoint", "this is no checkpoint of an audit log")

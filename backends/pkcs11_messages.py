"""What a server and its signing process say to each other: one JSON value a line.

The server's first line says what to open and holds the PIN: it goes through a pipe, never through
arguments or the environment, which others can read. The process answers with a line about what it
opened, or with why it could not. From then on a line holds a batch, digests one way and signatures
the other, each with the number that the server gave it. JSON, so that a library which was made to
misbehave in that process can send nothing that does anything here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Padding = Literal["PKCS1v15", "PSS"]
LONGEST_LINE = 1 << 20


@dataclass(frozen=True, slots=True)
class Opening:
    """What the process opens.

    Attributes:
        module_path: the PKCS #11 library.
        token: attributes that the token must have: token, serial, manufacturer, model, slot_id.
        pin: of the user.
        parent: the server's process; without it there is nobody to sign for.
        object: label of the key.
        id: of the key, in hexadecimal.
        hash: what its digests are made with, in hashlib's words.
        padding: of an RSA key.
        generate: make a new key of this algorithm first, with label and id.
        lasting: whether that key outlives the process.
    """

    module_path: str
    token: dict[str, str | int]
    pin: str = field(repr=False)
    parent: int
    object: str | None = None
    id: str | None = None
    hash: str = "sha256"
    padding: Padding = "PKCS1v15"
    generate: str | None = None
    lasting: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """What was opened.

    Attributes:
        token: label, manufacturer and model, for people.
        spki: DER of the key's public half in hexadecimal, if the token has it.
    """

    token: str
    spki: str | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """Why the process ends.

    Attributes:
        message: what is wrong.
        hint: what to do.
        pin_refused: the PIN is wrong, and trying it again could lock the token.
    """

    message: str
    hint: str
    pin_refused: bool = False


Batch = tuple[tuple[int, bytes], ...]
"""Numbered digests, or numbered signatures."""

Message = Opening | Opened | Failed | Batch
_KINDS: dict[str, type[Opening | Opened | Failed]] = {
    kind.__name__: kind for kind in (Opening, Opened, Failed)
}


def encode(message: Message) -> bytes:
    """Return the line of a message."""
    value: Any
    if isinstance(message, tuple):
        value = [[number, octets.hex()] for number, octets in message]
    else:
        value = {type(message).__name__: asdict(message)}
    return json.dumps(value).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read a line.

    Raises:
        ValueError: it is none of ours.
    """
    value = json.loads(line)
    try:
        if isinstance(value, list):
            return tuple((int(number), bytes.fromhex(octets)) for number, octets in value)
        ((kind, fields),) = value.items()
        return _KINDS[kind](**fields)
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError("not a message of a signing process") from error

"""Damaged messages: what a fuzzing test makes of the vectors."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

VECTORS = Path(__file__).parent / "vectors"
MANIFEST = json.loads((VECTORS / "manifest.json").read_text())
TELLING = (0x00, 0x01, 0x30, 0x31, 0x7F, 0x80, 0xFF)
"""Octets that mean something as a tag, a length or a limit."""


def seeds(codec: str, most: int = 4096) -> list[bytes]:
    """Return the vectors of a codec that have fewer octets than `most`."""
    return [
        content
        for vector in MANIFEST
        if vector["codec"] == codec
        and len(content := (VECTORS / vector["file"]).read_bytes()) < most
    ]


def refit(der: bytes) -> bytes:
    """Put a fitting outer length on changed octets, so that what is inside gets read."""
    if len(der) < 4:
        return der
    content = der[2 + (der[1] & 0x7F) if der[1] > 0x80 else 2 :]
    size = len(content)
    if size < 0x80:
        return b"\x30" + bytes([size]) + content
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return b"\x30" + bytes([0x80 | len(octets)]) + octets + content


def mutated(random: Random, found: list[bytes]) -> bytes:
    """Return one of the seeds with one to four changes, its outer length mended or not."""
    data = bytearray(random.choice(found))
    for _ in range(random.randint(1, 4)):
        at = random.randint(0, len(data))
        octet = random.choice((*TELLING, random.randint(0, 255)))
        match random.choice(("set", "delete", "insert", "repeat")):
            case "set" if at < len(data):
                data[at] = octet
            case "delete":
                del data[at : at + random.randint(1, 8)]
            case "repeat":
                data[at:at] = data[max(0, at - random.randint(1, 64)) : at]
            case _:
                data.insert(at, octet)
    return refit(bytes(data)) if random.random() < 0.5 else bytes(data)


def as_body(random: Random, der: bytes) -> bytes:
    """Return a request body that carries `der`, mostly in a form that is read."""
    text = base64.b64encode(der)
    match random.randint(0, 9):
        case 0:
            return der
        case 1:
            lines = base64.encodebytes(der)
            label = random.choice((b"CERTIFICATE REQUEST", b"NEW CERTIFICATE REQUEST", b"X"))
            return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label, lines, label)
        case 2:
            at = random.randint(0, len(text))
            return text[:at] + bytes([random.randint(0, 255)]) + text[at:]
        case 3:
            return base64.encodebytes(der).replace(b"\n", random.choice((b"\r\n", b"\r", b" \t\n")))
    return text + random.choice((b"", b"\n"))

"""Octets for people to read: DER and CBOR as trees, whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import cbor2
from asn1crypto import core, parser

if TYPE_CHECKING:
    from collections.abc import Iterator

_NAMES = {
    1: "BOOLEAN", 2: "INTEGER", 3: "BIT STRING", 4: "OCTET STRING", 5: "NULL",
    6: "OBJECT IDENTIFIER", 10: "ENUMERATED", 12: "UTF8String", 16: "SEQUENCE", 17: "SET",
}  # fmt: skip
_COLUMNS = 64  # hexadecimal digits


def lines(octets: bytes, indent: str = "") -> Iterator[str]:
    """Yield octets in hexadecimal, or as the text that they are, line by line."""
    text = octets.decode() if octets.isascii() and octets.decode().isprintable() else octets.hex()
    for at in range(0, len(text), _COLUMNS):
        yield indent + text[at : at + _COLUMNS]


def der(data: bytes, depth: int = 0) -> Iterator[str]:
    """Yield the tree that DER is, one element a line and long contents below it."""
    indent = "  " * depth
    while data:
        kind, method, tag, head, content, _ = parser.parse(data)
        data = data[len(head) + len(content) :]
        name = _NAMES.get(tag, f"tag {tag}") if kind == 0 else f"[{tag}]"
        if method == 1:
            yield f"{indent}{name} {len(content)}"
            yield from der(content, depth + 1)
        elif kind == 0 and tag == core.ObjectIdentifier.tag:
            dotted = core.ObjectIdentifier.load(head + content).dotted
            yield f"{indent}{name} {dotted}"
        elif len(content) <= _COLUMNS // 4:
            yield f"{indent}{name} {content.hex() or 'empty'}"
        else:
            yield f"{indent}{name} {len(content)}"
            yield from lines(content, indent + "  ")


def cbor(value: Any, depth: int = 0) -> Iterator[str]:
    """Yield what CBOR says, in its diagnostic notation (RFC 8949 8), an entry of a map a line."""
    indent = "  " * depth
    match value:
        case cbor2.CBORTag():
            yield f"{indent}{value.tag}("
            yield from cbor(value.value, depth + 1)
            yield f"{indent})"
        case Mapping():
            if not value:
                yield f"{indent}{{}}"
                return
            yield f"{indent}{{"
            for key, one in value.items():
                first, *rest = cbor(one, depth + 1)
                yield f"{indent}  {_scalar(key)}: {first.strip()}"
                yield from rest
            yield f"{indent}}}"
        case list() | tuple():
            yield f"{indent}["
            for one in value:
                yield from cbor(one, depth + 1)
            yield f"{indent}]"
        case _:
            yield f"{indent}{_scalar(value)}"


def _scalar(value: Any) -> str:
    if isinstance(value, bytes):
        return f"h'{value.hex()}'"
    return f'"{value}"' if isinstance(value, str) else str(value)


def content(data: bytes) -> bytes:
    """Return the content of one DER element."""
    found: bytes = parser.parse(data)[4]
    return found


def contents(data: bytes) -> Iterator[bytes]:
    """Yield the contents of the elements inside one."""
    inner = content(data)
    while inner:
        _, _, _, head, found, _ = parser.parse(inner)
        yield found
        inner = inner[len(head) + len(found) :]

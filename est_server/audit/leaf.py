"""What one leaf says: who did what when, and which rows came of it.

    leaf = {"act": text, "actor": text, "at": RFC 3339 time, "rows": [row …]}
    row  = {"table": text, "key": [text …],
            "sha256": hex, "marks": hex,      where the act wrote the row
            "plain": {column: value …},       what the row said after it, as far as it matters
            "removed": true}                  where the act removed it

It is JSON in UTF-8 with sorted keys and nothing between them, so that an act has one encoding. A
value is null, a number or a text; octets are the text ``sha256:`` and the hash of them.

`sha256` covers the row's fixed columns in the order of `est_server.audit.rows`: their lengths in
octets, decimal, with commas between them (``-`` for a null), a newline, and their values; a number
is its decimal text. `marks` has four hexadecimal digits for each of these columns, the end of the
value's CRC-32. They prove nothing; once the hash tells that a row was altered, they tell where.
"""

from __future__ import annotations

import json
import re
from binascii import crc32
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from struct import pack
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Value = str | int | None

MOST_OCTETS = 1 << 20
_MARK = 4
_PLAIN = (str, int)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")
_MARKS = re.compile(r"([0-9a-f]{4})*")


@dataclass(frozen=True, slots=True)
class LeafRow:
    """What a leaf says of one row.

    Attributes:
        table: its name.
        key: the values of its primary key.
        digest: SHA-256 of its fixed columns; None where the act did not write them.
        marks: of each of these.
        plain: columns and what they held after the act; those that are not named held nothing.
        removed: whether the act removed it.
    """

    table: str
    key: tuple[str, ...]
    digest: bytes | None = None
    marks: str = ""
    plain: Mapping[str, Value] = field(default_factory=dict)
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Leaf:
    """One act.

    Attributes:
        act: what was done, such as ``issued``.
        actor: who did it: a device's identity, ``user@host``, a server.
        at: when, in whole microseconds since 1970.
        rows: what came of it.
    """

    act: str
    actor: str
    at: int
    rows: tuple[LeafRow, ...]


def value_of(column: Any) -> Value:
    """Return a column's value as leaves have it."""
    found: Value = column
    if column is None or type(column) in _PLAIN:
        return found
    return f"sha256:{sha256(column).hexdigest()}"


def digest_and_marks(columns: Sequence[Any]) -> tuple[bytes, str]:
    """Return the hash of the fixed columns, and the mark of each.

    Raises:
        UnicodeEncodeError: a text holds a lone surrogate.
    """
    found = [
        one.encode() if type(one) is str else b"" if one is None else _octets(one)
        for one in columns
    ]
    lengths = [
        "-" if one is None else str(len(had)) for one, had in zip(columns, found, strict=True)
    ]
    marks = pack(f">{len(found)}H", *[crc32(one) & 0xFFFF for one in found]).hex()
    return sha256(b"%b\n%b" % (",".join(lengths).encode(), b"".join(found))).digest(), marks


def _octets(column: Any) -> bytes:
    return b"%d" % column if type(column) is int else bytes(column)


def altered(marks: str, columns: Sequence[Any]) -> list[int]:
    """Return the places of columns that don't have their mark any more."""
    _, found = digest_and_marks(columns)
    return [
        place
        for place in range(len(columns))
        if found[place * _MARK : (place + 1) * _MARK] != marks[place * _MARK : (place + 1) * _MARK]
    ]


def marked(marks: str) -> int:
    """Return how many columns have marks."""
    return len(marks) // _MARK


def encode_leaf(leaf: Leaf) -> bytes:
    """Return the octets that the tree is made over.

    Raises:
        ValueError: a text holds a lone surrogate.
    """
    return to_json(
        {
            "act": leaf.act,
            "actor": leaf.actor,
            "at": _time_text(leaf.at),
            "rows": [_row_json(row) for row in leaf.rows],
        }
    )


def decode_leaf(data: bytes) -> Leaf:
    """Read what `encode_leaf` wrote, and nothing else.

    Raises:
        Malformed: ``audit.leaf``.
    """
    if len(data) > MOST_OCTETS:
        raise _malformed("too long")
    try:
        value = json.loads(data.decode())
        leaf = _leaf(value)
        if encode_leaf(leaf) != data:
            raise _malformed("not in its one encoding")
    except (ValueError, RecursionError, KeyError, TypeError, OverflowError) as error:
        raise _malformed(str(error)[:80]) from error
    return leaf


def _row_json(row: LeafRow) -> dict[str, Any]:
    found: dict[str, Any] = {"key": row.key}  # in the order of the names: the encoder keeps it
    if row.digest is not None:
        found["marks"] = row.marks
    if row.plain:
        found["plain"] = dict(sorted(row.plain.items()))
    if row.removed:
        found["removed"] = True
    if row.digest is not None:
        found["sha256"] = row.digest.hex()
    found["table"] = row.table
    return found


def _leaf(value: Any) -> Leaf:
    at = value["at"]
    if not _TIME.fullmatch(at):
        raise _malformed("its time")
    return Leaf(
        act=_text(value["act"]),
        actor=_text(value["actor"]),
        at=(datetime.fromisoformat(at) - _EPOCH) // timedelta(microseconds=1),
        rows=tuple(_row(row) for row in value["rows"]),
    )


def _row(value: Any) -> LeafRow:
    digest, marks, plain = value.get("sha256"), value.get("marks", ""), value.get("plain", {})
    if digest is not None and not _HASH.fullmatch(digest):
        raise _malformed("a hash")
    if not _MARKS.fullmatch(marks):
        raise _malformed("marks")
    for item in plain.values():
        if item is not None and type(item) not in _PLAIN:
            raise _malformed("a value")
    return LeafRow(
        table=_text(value["table"]),
        key=tuple(_text(part) for part in value["key"]),
        digest=None if digest is None else bytes.fromhex(digest),
        marks=marks,
        plain=plain,
        removed=bool(value.get("removed", False)),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _malformed("a text")
    return value


def _time_text(at: int) -> str:
    time = _EPOCH + timedelta(microseconds=at)
    return f"{time:%Y-%m-%dT%H:%M:%S.%f}Z"


def _malformed(what: str) -> Malformed:
    return Malformed("audit.leaf", f"this is no leaf of an audit log: {what}")

"""YAML with positions: every scalar as text, every problem in one run.

PyYAML's parser does the reading; `Composer` builds plain data from its events and notes where each
key and each value stands. Types are pydantic's business later on: the resolver of YAML 1.1
reads ``12:34:56`` as a number and ``NO`` as false. What makes a file say something else than a
reader thinks is refused: duplicate keys, aliases, anchors, tags, merge keys, several documents.
Aliases are refused as events, so nothing is ever expanded.
"""

from __future__ import annotations

import re

from yaml.reader import Reader

from est_server.config.composer import Composer
from est_server.config.document import BROKEN, Document
from est_server.errors import Position, Problem

LARGEST = 1 << 20
"""Octets of one file."""

_BREAK = re.compile("\r\n|[\r\n\x85\u2028\u2029]")


def read_yaml(source: bytes, file: str) -> Document:
    """Read one file.

    Args:
        source: its octets.
        file: how messages call it.

    Returns:
        The document; whatever is wrong is among its problems, nothing is raised.
    """
    if len(source) > LARGEST:
        message = f"the file has {len(source):,} octets, at most {LARGEST:,} are read"
        return _unreadable(file, "", Problem(Position(file, 1, 1), "E108", message))
    try:
        text = source.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = source[: error.start].decode("utf-8-sig", "replace")
        at = position_at(before, len(before), file)
        problem = Problem(at, "E100", "this is not UTF-8", hint="save the file as UTF-8")
        return _unreadable(file, source.decode("utf-8-sig", "replace"), problem)
    if (found := Reader.NON_PRINTABLE.search(text)) is not None:
        at = position_at(text, found.start(), file)
        message = f"the character U+{ord(found[0]):04X} has no place in a text file"
        return _unreadable(file, text, Problem(at, "E100", message))
    return Composer(file, text).compose()


def split_lines(text: str) -> list[str]:
    """Return the lines of `text` as YAML counts them (YAML 1.1 5.4)."""
    return _BREAK.split(text)


def position_at(text: str, offset: int, file: str) -> Position:
    """Return the line and column of a character."""
    lines = split_lines(text[:offset])
    return Position(file, len(lines), len(lines[-1]) + 1)


def _unreadable(file: str, text: str, problem: Problem) -> Document:
    return Document(file, text, BROKEN, problems=(problem,))

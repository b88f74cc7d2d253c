"""The exported log (`audit export`), believed as far as a checkpoint that we trust covers it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from est_server.audit.notes import check_signature
from est_server.audit.tree import Range, leaf_hash, node_hash, root_of, subtrees
from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

FORMAT = "est-server audit 1"
_HASH = 32


def covered_leaves(
    lines: Iterable[str], keys: Sequence[Ed25519PublicKey], start: int
) -> list[tuple[int, bytes]]:
    """Return the leaves from `start` on and their places, all of them under a signed checkpoint.

    Args:
        lines: of the export.
        keys: who may have signed.
        start: the first that is wanted.

    Raises:
        Malformed: ``audit.export``: it is none, begins behind `start`, or is not what was signed;
            ``audit.checkpoint``, ``audit.signature``.
    """
    if not keys:
        raise _malformed("nobody is known who may have signed it")
    reading = _Reading(keys, start)
    try:
        for number, line in enumerate(lines):
            reading.take(json.loads(line), first=number == 0)
            if number == 0 and reading.size > start:
                raise _malformed(f"it begins with leaf {reading.size}, and {start} is wanted")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _malformed(str(error)[:80]) from error
    return [one for one in reading.leaves if one[0] < reading.believed]


@dataclass(slots=True)
class _Reading:
    """How far an export has been read."""

    keys: Sequence[Ed25519PublicKey]
    start: int
    size: int = 0
    believed: int = 0
    leaves: list[tuple[int, bytes]] = field(default_factory=list)
    _stack: list[tuple[int, bytes]] = field(default_factory=list)

    def take(self, entry: Any, *, first: bool) -> None:
        """Take in the next line."""
        if not isinstance(entry, dict):
            raise _malformed("a line is no object")
        if first:
            if entry["format"] != FORMAT:
                raise _malformed("its first line is another")
            self.size, self._stack = _begin(entry)
        elif "leaf" in entry:
            if entry["index"] != self.size:
                raise _malformed(f"leaf {self.size} is missing")
            data = entry["leaf"].encode()
            _push(self._stack, leaf_hash(data))
            if self.size >= self.start:
                self.leaves.append((self.size, data))
            self.size += 1
        elif "checkpoint" in entry:
            checkpoint = check_signature(entry["checkpoint"], self.keys)
            root = root_of([one for _, one in self._stack])
            if (checkpoint.size, checkpoint.root) != (self.size, root):
                raise _malformed(f"its {self.size} leaves are not those that were signed")
            self.believed = self.size


def _begin(head: dict[str, Any]) -> tuple[int, list[tuple[int, bytes]]]:
    since: int = head["since"]
    if type(since) is not int or since < 0:
        raise _malformed("its beginning")
    hashes = [bytes.fromhex(one) for one in head["hashes"]]
    if any(len(one) != _HASH for one in hashes):
        raise _malformed("a hash")
    levels = (one.level for one in subtrees(Range(0, since)))
    return since, list(zip(levels, hashes, strict=True))


def _push(stack: list[tuple[int, bytes]], found: bytes) -> None:
    level = 0
    while stack and stack[-1][0] == level:
        level, found = level + 1, node_hash(stack.pop()[1], found)
    stack.append((level, found))


def _malformed(what: str) -> Malformed:
    return Malformed(
        "audit.export",
        f"this export can't be believed: {what}",
        hint="est-server audit export FILE",
    )

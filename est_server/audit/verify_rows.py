"""The ledger against the log: each row is what the leaves say of it, and none is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from est_server.audit.finding import LEAVES, Finding
from est_server.audit.leaf import Leaf, LeafRow, altered, digest_and_marks, marked, value_of
from est_server.audit.rows import ELSEWHERE, WATCHED, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from est_server.audit.leaf import Value
    from est_server.ports.audit import AuditReader

BEGAN = "log-began"
"""The act of the first leaf: it says how many rows of each table there were before it."""


@dataclass(frozen=True, slots=True)
class Said:
    """What all leaves together say of a row.

    Attributes:
        digest: as in `LeafRow`, by the leaf that wrote the row; None for an older row.
        marks: likewise.
        plain: as in `LeafRow`, by the last leaf about it.
        place: of that leaf.
        removed: whether that leaf says so.
    """

    digest: bytes | None
    marks: str
    plain: Mapping[str, Value]
    place: int
    removed: bool


class Memory(Protocol):
    """What the leaves said of all rows: more than fits into memory."""

    def hear(self, place: int, row: LeafRow) -> None:
        """Take in what the next leaf says of a row."""
        ...

    def said(self, table: str, key: str) -> Said | None:
        """Return what was said of a row, and remember that it was asked for."""
        ...

    def not_asked(self, table: str) -> Iterator[tuple[str, Said]]:
        """Yield the keys of the rows of a table that nobody asked for."""
        ...


def beginning(at: int, counts: Mapping[str, int]) -> Leaf:
    """Return the first leaf of a log.

    Args:
        at: now, in whole microseconds since 1970.
        counts: table -> how many rows it has.
    """
    rows = (LeafRow(table, (), plain={"rows": count}) for table, count in counts.items())
    return Leaf(BEGAN, "db upgrade", at, tuple(rows))


@dataclass(slots=True)
class RowCheck:
    """One check of a ledger's rows.

    Attributes:
        reader: the ledger.
        memory: what the leaves say.
        older: table -> how many rows are older than the log.
        checked: how many rows were compared.
    """

    reader: AuditReader
    memory: Memory
    older: dict[str, int] = field(default_factory=dict)
    checked: int = 0
    _began: int | None = None

    def hear(self, place: int, leaf: Leaf) -> None:
        """Take in a leaf; they come in order."""
        if leaf.act == BEGAN and place == 0:
            self._began = leaf.at
            self.older = {row.table: int(row.plain.get("rows") or 0) for row in leaf.rows}
            return
        for row in leaf.rows:
            if row.table != ELSEWHERE and row.key:
                self.memory.hear(place, row)

    def run(self) -> Iterator[Finding]:
        """Yield what is not as the leaves say."""
        if self._began is None:
            text = "the first leaf, which tells what there was before the log, is not there"
            yield Finding("audit.leaf.first", LEAVES, "0", "", text)
        for table in WATCHED:
            yield from self._table(table)
        for table, key, column, text in self.reader.derived():
            yield Finding("audit.row.derived", table, key, column, text)

    def _table(self, table: str) -> Iterator[Finding]:
        without = 0
        for row in self.reader.rows(table):
            self.checked += 1
            key = "/".join(key_of(table, row))
            said = self.memory.said(table, key)
            if said is None or said.digest is None:
                without += 1
            if said is not None:
                yield from _compared(table, key, row, said)
            elif self._is_new(table, row):
                text = "has no leaf: it was inserted by hand, or its leaf was removed"
                yield Finding("audit.row.unknown", table, key, "", text)
                without -= 1
        for key, said in self.memory.not_asked(table):
            without += said.digest is None
            if said.removed:
                continue
            text = f"was removed; leaf {said.place} speaks of it"
            yield Finding("audit.row.missing", table, key, "", text)
        if without != self.older.get(table, 0):
            text = f"{without} rows have no leaf; {self.older.get(table, 0)} are older than the log"
            yield Finding("audit.row.count", table, "", "", text)

    def _is_new(self, table: str, row: Mapping[str, Any]) -> bool:
        """Tell whether a row can't be older than the log."""
        if self._began is None:
            return False
        return not self.older.get(table) or row[WATCHED[table].written_at] > self._began


def _compared(table: str, key: str, row: Mapping[str, Any], said: Said) -> Iterator[Finding]:
    watched = WATCHED[table]
    if said.removed:
        text = f"is there, and leaf {said.place} says that it was removed"
        yield Finding("audit.row.unknown", table, key, "", text)
        return
    if said.digest is not None:
        names = watched.fixed[: marked(said.marks)]
        values = [row[name] for name in names]
        if digest_and_marks(values)[0] != said.digest:
            places = altered(said.marks, values)
            for column in [names[place] for place in places] or [""]:
                yield Finding("audit.row.altered", table, key, column, "was altered")
    for name in watched.state:
        now, then = value_of(row[name]), said.plain.get(name)
        if now != then:
            text = f"is {now!r}; leaf {said.place} says {then!r}"
            yield Finding("audit.row.altered", table, key, name, text)

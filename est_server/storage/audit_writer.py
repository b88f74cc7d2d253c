"""Leaves of the audit log, written with what they speak of.

Whatever a part of a transaction does, this sees its statements: those that concern the rows of
`est_server.audit.rows` become one leaf, which is written last. So no part can forget its leaf, and
none has to think of it. A transaction that does many acts of a kind gets a leaf for each, or for
some hundred rows.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from est_server.audit.leaf import Leaf, LeafRow, encode_leaf
from est_server.audit.rows import ORDER, WATCHED, act_of, changed, key_text, subject_of, written
from est_server.storage import audit_statements as sql

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Executable

    from est_server.storage.transaction import Transaction, Writer

T = TypeVar("T")

_Row = tuple[str, tuple[Any, ...]]

_MOST_ROWS = 256
_TIMES = ("at", "issued_at", "created_at", "first_seen", "prepared_at")
_ACTORS = ("actor", "by", "identity")  # who gives the order, then who is asking


class Recording:
    """A `Transaction` that notes which rows of the log's tables its part writes and changes.

    Args:
        db: what runs the statements.
        actor: whose act it is where its values don't say.
    """

    __slots__ = (
        "_actor", "_again", "_at", "_default", "_rows", "column", "db", "find", "find_all", "lock",
    )  # fmt: skip

    def __init__(self, db: Transaction, actor: str) -> None:
        self.db = db
        self.find = db.find
        self.find_all = db.find_all
        self.column = db.column
        self.lock = db.lock
        self._default = actor
        self._start()

    def _start(self) -> None:
        self._rows: dict[_Row, Mapping[str, Any] | None] = {}
        self._again: set[_Row] = set()  # written by this act, but not as the values say
        self._at: int | None = None
        self._actor: tuple[int, str] | None = None

    def change(self, statement: Executable, values: Mapping[str, Any], /) -> int:
        """Run a statement; see `Transaction.change`."""
        if (table := sql.WRITES.get(statement)) is not None:
            found = self.db.change(statement, values)
            self._rows[table, tuple([values[name] for name in WATCHED[table].key])] = values
        elif (known := sql.CHANGES.get(statement)) is not None:
            found = self.db.change(statement, values)
            if found:
                self._touch(known[0], [values[name] for name in known[1]])
                if statement in sql.COPIES:
                    self._again.update(self._rows)
        elif (found_by := sql.FINDS.get(statement)) is not None:
            row = self.db.find(found_by[1], values)
            found = self.db.change(statement, values)
            if row is not None and found:
                table = found_by[0]
                self._touch(table, [row[name] for name in WATCHED[table].key])
        else:
            return self.db.change(statement, values)
        self._note(values)
        if statement in sql.ENDS or len(self._rows) >= _MOST_ROWS:
            self.finish()
        return found

    def _touch(self, table: str, key: Sequence[Any]) -> None:
        row = (table, tuple(key))
        if self._rows.get(row) is not None:
            self._again.add(row)
        self._rows[row] = None

    def _note(self, values: Mapping[str, Any]) -> None:
        for name in _TIMES:
            if (at := values.get(name)) is not None:
                self._at = max(at, self._at or 0)
                break
        for rank, name in enumerate(_ACTORS):
            if (who := values.get(name)) and (self._actor is None or rank <= self._actor[0]):
                self._actor = (rank, who)

    def finish(self) -> None:
        """Write the leaf of what was done, if anything was."""
        if not self._rows:
            return
        found = sorted(self._said(), key=lambda row: ORDER[row.table])
        actor = self._default if self._actor is None else self._actor[1]
        at = time.time_ns() // 1000 if self._at is None else self._at
        add_leaf(self.db, actor, at, tuple(found))
        self._start()

    def _said(self) -> Iterator[LeafRow]:
        for row, values in self._rows.items():
            table, key = row
            if values is not None and row not in self._again:
                yield written(table, values)
                continue
            now = self.db.find(sql.ROW[table], {f"key_{n}": part for n, part in enumerate(key)})
            if now is None:
                yield LeafRow(table, tuple(map(key_text, key)), removed=True)
            else:
                yield (written if row in self._again else changed)(table, now)


def add_leaf(db: Transaction, actor: str, at: int, rows: tuple[LeafRow, ...]) -> None:
    """Write a leaf that waits for its place."""
    leaf = Leaf(act_of(rows), actor, at, rows)
    db.change(sql.ADD_LEAF, {"subject": subject_of(rows[0]), "leaf": encode_leaf(leaf)})


@dataclass(frozen=True, slots=True)
class AuditedWriter:
    """A `Writer` that adds the leaf of each part to its transaction.

    Attributes:
        writer: runs the parts.
        actor: who acts where the parts don't say.
    """

    writer: Writer
    actor: str

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and write its leaf; see `Writer.run`."""

        def audited(db: Transaction) -> T:
            recording = Recording(db, self.actor)
            result = work(recording)
            recording.finish()
            return result

        return await self.writer.run(audited)

    async def close(self) -> None:
        """Finish what waits; see `Writer.close`."""
        await self.writer.close()

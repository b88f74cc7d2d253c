"""What all leaves say of all rows, in a temporary SQLite file: it need not fit into memory."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from est_server.audit.verify_rows import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from est_server.audit.leaf import LeafRow
    from est_server.audit.verify_rows import Memory

_BATCH = 2000
_TABLE = """
CREATE TABLE said (
    of_table TEXT, row TEXT, digest BLOB, marks TEXT, plain TEXT, place INTEGER, removed INTEGER,
    asked INTEGER DEFAULT 0, PRIMARY KEY (of_table, row)
) WITHOUT ROWID
"""
_HEAR = """
INSERT INTO said (of_table, row, digest, marks, plain, place, removed) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    digest = coalesce(excluded.digest, digest),
    marks = CASE WHEN excluded.digest IS NULL THEN marks ELSE excluded.marks END,
    plain = excluded.plain, place = excluded.place, removed = excluded.removed
"""
_FIND = "SELECT digest, marks, plain, place, removed FROM said WHERE of_table = ? AND row = ?"
_ASKED = "UPDATE said SET asked = 1 WHERE of_table = ? AND row = ?"
_NOT_ASKED = """
SELECT row, digest, marks, plain, place, removed FROM said WHERE of_table = ? AND NOT asked
ORDER BY row
"""


@dataclass(slots=True)
class TemporaryMemory:
    """A `Memory` on a connection to a temporary database."""

    db: sqlite3.Connection
    _heard: list[tuple[Any, ...]] = field(default_factory=list)
    _asked: list[tuple[str, str]] = field(default_factory=list)

    def hear(self, place: int, row: LeafRow) -> None:
        """Take in what the next leaf says of a row."""
        plain = json.dumps(dict(row.plain))
        key = "/".join(row.key)
        self._heard.append((row.table, key, row.digest, row.marks, plain, place, row.removed))
        if len(self._heard) >= _BATCH:
            self._flush()

    def said(self, table: str, key: str) -> Said | None:
        """Return what was said of a row, and remember that it was asked for."""
        if self._heard:
            self._flush()
        found = self.db.execute(_FIND, (table, key)).fetchone()
        if found is None:
            return None
        self._asked.append((table, key))
        if len(self._asked) >= _BATCH:
            self._flush()
        return _said(found)

    def not_asked(self, table: str) -> Iterator[tuple[str, Said]]:
        """Yield the keys of the rows of a table that nobody asked for."""
        self._flush()
        for row, *found in self.db.execute(_NOT_ASKED, (table,)):
            yield row, _said(found)

    def _flush(self) -> None:
        self.db.executemany(_HEAR, self._heard)
        self.db.executemany(_ASKED, self._asked)
        self._heard.clear()
        self._asked.clear()


def _said(found: Any) -> Said:
    digest, marks, plain, place, removed = found
    return Said(digest, marks, json.loads(plain), place, bool(removed))


@contextmanager
def temporary_memory() -> Iterator[TemporaryMemory]:
    """Return an empty memory until the block ends."""
    db = sqlite3.connect("", isolation_level=None, check_same_thread=False)  # a file of no name
    try:
        db.execute("PRAGMA journal_mode=OFF")
        db.execute(_TABLE)
        yield TemporaryMemory(db)
    finally:
        db.close()


_: Callable[[sqlite3.Connection], Memory] = TemporaryMemory

"""How SQLite runs the statements of this room: on the driver's own connection."""

from __future__ import annotations

import sqlite3
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import sqlite as sqlite_dialect

from est_server.storage import statements as sql
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sqlalchemy import Executable

    from est_server.storage.transaction import Transaction

DIALECT = sqlite_dialect.dialect(paramstyle="qmark")
_UNIQUE = "UNIQUE constraint failed: "


@cache
def prepared(statement: Executable) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Return the SQL of one of `statements`, and what picks its parameters from a mapping."""
    found = sql.compiled(statement, DIALECT)
    return found.text, found.picker()


class SqliteConnection(sqlite3.Connection):
    """A connection that is a `Transaction` too, with no object between."""

    def change(self, statement: Executable, values: Mapping[str, Any], /) -> int:
        query, picked = prepared(statement)
        try:
            return self.execute(query, picked(values)).rowcount
        except sqlite3.IntegrityError as error:
            text = str(error)
            if not text.startswith(_UNIQUE):
                raise
            raise UniqueBroken(text.removeprefix(_UNIQUE).split(", ")) from error

    def find(self, statement: Executable, values: Mapping[str, Any], /) -> sqlite3.Row | None:
        query, picked = prepared(statement)
        row: sqlite3.Row | None = self.execute(query, picked(values)).fetchone()
        return row

    def find_all(self, statement: Executable, values: Mapping[str, Any], /) -> list[sqlite3.Row]:
        query, picked = prepared(statement)
        return self.execute(query, picked(values)).fetchall()

    def lock(self, name: str, /) -> None:
        """Hold what the whole transaction holds: SQLite has one lock, and writers have it."""

    def column(
        self, statement: Executable, values: Mapping[str, Any], most: int, /
    ) -> Iterator[list[Any]]:
        query, picked = prepared(statement)
        cursor = self.cursor()
        cursor.row_factory = None  # plain tuples, a million of them
        cursor.execute(query, picked(values))
        while found := cursor.fetchmany(most):
            yield [value for (value,) in found]


_: Callable[[str], Transaction] = SqliteConnection

"""How PostgreSQL runs the statements of this room: on the driver's own connection.

The parts of a transaction are plain functions, the driver is not: they run in a greenlet, which
stands still while the event loop waits for the server.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import UniqueConstraint
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.util import await_only

from est_server.storage import statements as sql
from est_server.storage.tables import metadata
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import Executable

    from est_server.storage.transaction import Found, Transaction

DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]  # the library's own
_LOCK = "SELECT pg_advisory_xact_lock($1::bigint)"


@cache
def prepared(statement: Executable) -> tuple[str, Callable[[Mapping[str, Any]], tuple[Any, ...]]]:
    """Return the SQL of one of `statements`, and what picks its parameters from a mapping."""
    found = sql.compiled(statement, DIALECT)
    return found.text, found.picker()


class PostgresTransaction:
    """A `Transaction` on a connection that has begun one.

    Args:
        connection: its own.
        within: seconds that a statement may take.
    """

    __slots__ = ("_connection", "_within")

    def __init__(self, connection: asyncpg.Connection, within: float) -> None:
        self._connection = connection
        self._within = within

    def change(self, statement: Executable, values: Mapping[str, Any], /) -> int:
        query, picked = prepared(statement)
        try:
            done = await_only(
                self._connection.execute(query, *picked(values), timeout=self._within)
            )
        except asyncpg.UniqueViolationError as error:
            name = error.constraint_name or ""
            raise UniqueBroken(_unique_columns().get(name, (name,))) from error
        return int(done.rpartition(" ")[2])

    def find(self, statement: Executable, values: Mapping[str, Any], /) -> Found | None:
        query, picked = prepared(statement)
        found: Found | None = await_only(
            self._connection.fetchrow(query, *picked(values), timeout=self._within)
        )
        return found

    def find_all(self, statement: Executable, values: Mapping[str, Any], /) -> Sequence[Found]:
        query, picked = prepared(statement)
        found: Sequence[Found] = await_only(
            self._connection.fetch(query, *picked(values), timeout=self._within)
        )
        return found

    def column(
        self, statement: Executable, values: Mapping[str, Any], most: int, /
    ) -> Iterator[list[Any]]:
        query, picked = prepared(statement)
        cursor = await_only(self._connection.cursor(query, *picked(values), timeout=self._within))
        while found := await_only(cursor.fetch(most, timeout=self._within)):
            yield [value for (value,) in found]

    def lock(self, name: str, /) -> None:
        digest = blake2b(name.encode(), digest_size=8).digest()
        number = int.from_bytes(digest, signed=True)
        await_only(self._connection.execute(_LOCK, number, timeout=self._within))


@cache
def _unique_columns() -> Mapping[str, tuple[str, ...]]:
    """Return ``table.column`` of each unique constraint and index, by its name in the database."""
    found: dict[str, tuple[str, ...]] = {}
    for table in metadata.tables.values():
        unique: list[Any] = [table.primary_key]
        unique += [one for one in table.constraints if isinstance(one, UniqueConstraint)]
        unique += [index for index in table.indexes if index.unique]
        for one in unique:
            name = DIALECT.identifier_preparer.format_constraint(one)
            found[name or ""] = tuple(f"{table.name}.{column.name}" for column in one.columns)
    return found


_: Callable[[asyncpg.Connection, float], Transaction] = PostgresTransaction

"""Reads of a PostgreSQL ledger; see `est_server.storage.transaction.Reads`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.util import greenlet_spawn

from est_server.storage import statements as sql
from est_server.storage.postgres_server import (
    ANSWERS_WITHIN,
    BROKEN,
    LISTS_WITHIN,
    UNSTORABLE,
    Failure,
    roll_back,
    unavailable,
)
from est_server.storage.postgres_transaction import DIALECT, PostgresTransaction, prepared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

    import asyncpg
    from sqlalchemy import ColumnElement, Executable, Select

    from est_server.storage.postgres_server import PostgresPool
    from est_server.storage.transaction import Found, Reads, Transaction

T = TypeVar("T")


class PostgresReads:
    """Runs reads on the connections of a pool; what can't be stored is found nowhere."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._filtered: dict[tuple[int, tuple[str, ...]], sql.Compiled] = {}

    async def one(self, statement: Executable, values: Mapping[str, Any]) -> Found | None:
        query, picked = prepared(statement)
        try:
            async with self._connection() as connection:
                found: Found | None = await connection.fetchrow(query, *picked(values))
        except UNSTORABLE:
            return None
        return found

    async def all(
        self, statement: Executable, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Sequence[Found]:
        query, picked = prepared(statement)
        return await self._list(query, picked(values))

    async def page(
        self,
        statement: Select[Any],
        filters: Mapping[str, ColumnElement[bool]],
        wanted: Mapping[str, Any],
        limit: int,
    ) -> Sequence[Found]:
        used = tuple(name for name in filters if name in wanted)
        key = (id(statement), used)
        if (found := self._filtered.get(key)) is None:
            filtered = statement.where(*(filters[name] for name in used))
            found = self._filtered[key] = sql.compiled(filtered, DIALECT)
        return await self._list(found.text, found.picker()({**wanted, "most": max(limit, 0)}))

    async def at_one_moment(self, read: Callable[[Transaction], T]) -> T:
        async with self._connection() as connection:
            await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            try:
                return await greenlet_spawn(read, PostgresTransaction(connection, LISTS_WITHIN))
            finally:
                await roll_back(connection)

    async def close(self) -> None:
        await self._pool.close()

    async def _list(self, query: str, values: tuple[Any, ...]) -> Sequence[Found]:
        try:
            async with self._connection() as connection:
                found: Sequence[Found] = await connection.fetch(
                    query, *values, timeout=LISTS_WITHIN
                )
        except UNSTORABLE:
            return []
        return found

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        try:
            pool = await self._pool.connections()
            async with pool.acquire(timeout=ANSWERS_WITHIN) as connection:
                try:
                    yield connection
                except BROKEN:
                    connection.terminate()
                    raise
        except UNSTORABLE:
            raise
        except Failure as error:
            raise unavailable(error, "read") from error


_: Callable[[PostgresPool], Reads] = PostgresReads

"""How the schema of a PostgreSQL ledger is read and changed."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from est_server.errors import BackendUnavailable
from est_server.storage.postgres_server import Failure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from sqlalchemy import Connection

    from est_server.storage.postgres_server import PostgresServer

T = TypeVar("T")

_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(8374627019283746)")
_ENCODING = text("SHOW server_encoding")
_COMPARED_BY_LOCALE = text(
    "SELECT quote_ident(c.relname), quote_ident(a.attname) FROM pg_attribute a"
    " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_collation l ON l.oid = a.attcollation"
    " WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
    " AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'text'::regtype"
    " AND l.collname <> 'C'"
)


def read(server: PostgresServer, look: Callable[[Connection], T]) -> T:
    """Return what `look` finds in a transaction that reads.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the server can't be reached or refuses.
    """
    return _in_a_thread(_connected(server, look))


def change(server: PostgresServer, work: Callable[[Connection], None]) -> None:
    """Run `work`, which commits, in a transaction that no other process runs beside it.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the server can't be reached or refuses;
            ``ledger.schema``: the database does not keep text as UTF-8.
    """

    def whole(connection: Connection) -> None:
        with connection.begin():
            connection.execute(_ONE_AT_A_TIME)
            _require_utf8(connection)
            work(connection)
            _compare_by_octets(connection)

    _in_a_thread(_connected(server, whole))


def _require_utf8(connection: Connection) -> None:
    found = connection.execute(_ENCODING).scalar_one()
    if found != "UTF8":
        raise BackendUnavailable(
            "ledger.schema",
            f"the database keeps text as {found}",
            hint="make one with ENCODING 'UTF8' TEMPLATE template0",
        )


def _compare_by_octets(connection: Connection) -> None:
    """Make every text compare as in SQLite, whatever the database's locale.

    Pages go on behind the last row's text, and a locale may come to compare otherwise with a new
    release of its library, which would break the indexes.
    """
    for table, column in connection.execute(_COMPARED_BY_LOCALE).all():
        connection.execute(text(f'ALTER TABLE {table} ALTER COLUMN {column} TYPE text COLLATE "C"'))


async def _connected(server: PostgresServer, run: Callable[[Connection], T]) -> T:
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=server.connect, poolclass=NullPool
    )
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(run)
    except (DBAPIError, *Failure) as error:
        raise BackendUnavailable(
            "ledger.unavailable",
            "the ledger can't be opened",
            hint=f"{server}: {getattr(error, 'orig', None) or error}",
        ) from error


def _in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """Wait for `work` on a loop of its own: who asks may be on one already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()

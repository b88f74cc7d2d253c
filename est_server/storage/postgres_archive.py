"""From a PostgreSQL ledger to an archive (`est_server.storage.archive`), and back.

A copy is made in one transaction that sees one moment, and loaded in one that is there as a whole
or not at all. The tables are the same on both engines, and so are the values in them.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import asyncpg

from est_server.errors import BackendUnavailable, Conflict
from est_server.storage import ledger  # noqa: F401 - makes every table known
from est_server.storage.archive import Archive, beside, finish, remove
from est_server.storage.postgres_server import Failure
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import Table

    from est_server.storage.postgres_server import PostgresServer

_ROWS = 2000
# the one column whose numbers the database gives
_GO_ON = (
    "SELECT setval(pg_get_serial_sequence('audit_leaves', 'id'),"
    " (SELECT coalesce(max(id), 0) + 1 FROM audit_leaves), false)"
)


async def archive_postgres(
    server: PostgresServer, out: Path, *, at: datetime, release: str
) -> Archive:
    """Copy a ledger that may be in use; servers go on reading and writing.

    Args:
        server: where it is.
        out: the archive; nothing may be there.
        at: now.
        release: of est-server.

    Raises:
        Conflict: ``backup.exists``.
        BackendUnavailable: ``backup.write``, ``ledger.unavailable``, ``ledger.schema``.
    """
    status = schema_status(server)
    if not status.ready:
        text = f"the ledger has schema {status.current or 'none'}, this release needs {status.head}"
        raise BackendUnavailable("ledger.schema", text, hint="est-server db upgrade")
    fresh = beside(out)
    try:
        upgrade_schema(fresh)
        with closing(sqlite3.connect(fresh, isolation_level=None)) as target:
            await _copy_all(server, target)
        return finish(fresh, out, Archive(at, release, "postgresql", status.head, {}))
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(
            "backup.write", "the backup can't be written", hint=f"{out}: {error}"
        ) from error
    finally:
        remove(fresh)


async def _copy_all(server: PostgresServer, target: sqlite3.Connection) -> None:
    connection = await _connected(server)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            target.execute("BEGIN")
            for table in reversed(metadata.sorted_tables):
                target.execute(f'DELETE FROM "{table.name}"')  # noqa: S608 - a table of ours
            for table in metadata.sorted_tables:
                places = ", ".join("?" for _ in table.columns)
                into = f'INSERT INTO "{table.name}" ({_columns(table)}) VALUES ({places})'  # noqa: S608 - names of ours
                async for some in _pages(connection, table):
                    target.executemany(into, some)
            target.execute("COMMIT")
    except Failure as error:
        raise _unavailable(server, error) from error
    finally:
        with suppress(*Failure):
            await connection.close()


async def _pages(connection: asyncpg.Connection, table: Table) -> AsyncIterator[list[Any]]:
    cursor = await connection.cursor(f'SELECT {_columns(table)} FROM "{table.name}"')  # noqa: S608 - names of ours
    while some := await cursor.fetch(_ROWS):
        yield [tuple(row) for row in some]


async def running(server: PostgresServer, since: int) -> list[tuple[int, str]]:
    """Return process and host of the servers that reported themselves since then.

    Args:
        server: where the ledger is.
        since: whole microseconds since 1970.

    Raises:
        BackendUnavailable: ``ledger.unavailable``.
    """
    query = "SELECT pid, host FROM nodes WHERE seen_at > $1"
    found = await _asked(server, lambda connection: connection.fetch(query, since))
    return [(row["pid"], row["host"]) for row in found]


async def is_empty(server: PostgresServer) -> bool:
    """Tell whether a ledger has neither requests nor devices nor credentials.

    Raises:
        BackendUnavailable: ``ledger.unavailable``.
    """
    query = (
        "SELECT EXISTS (SELECT FROM requests) OR EXISTS (SELECT FROM devices)"
        " OR EXISTS (SELECT FROM credentials)"
    )
    return not await _asked(server, lambda connection: connection.fetchval(query))


async def load_postgres(file: Path, server: PostgresServer) -> None:
    """Put a SQLite ledger into a database in place of what is there; nobody may use either.

    Raises:
        BackendUnavailable: ``ledger.unavailable``.
    """
    upgrade_schema(server)
    connection = await _connected(server)
    try:
        with closing(sqlite3.connect(file)) as source:
            async with connection.transaction():
                names = ", ".join(f'"{table.name}"' for table in metadata.sorted_tables)
                await connection.execute(f"TRUNCATE {names}")
                for table in metadata.sorted_tables:
                    query = f'SELECT {_columns(table)} FROM "{table.name}"'  # noqa: S608 - names of ours
                    await connection.copy_records_to_table(
                        table.name,
                        records=_records(source.execute(query)),
                        columns=[column.name for column in table.columns],
                    )
                await connection.execute(_GO_ON)
    except Failure as error:
        raise _unavailable(server, error) from error
    finally:
        with suppress(*Failure):
            await connection.close()


def _records(found: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    while some := found.fetchmany(_ROWS):
        yield from some


async def _asked(server: PostgresServer, ask: Callable[[asyncpg.Connection], Any]) -> Any:
    connection = await _connected(server)
    try:
        return await ask(connection)
    except asyncpg.UndefinedTableError as error:
        raise Conflict(
            "ledger.schema", "the database has no ledger's tables", hint="est-server db upgrade"
        ) from error
    except Failure as error:
        raise _unavailable(server, error) from error
    finally:
        with suppress(*Failure):
            await connection.close()


async def _connected(server: PostgresServer) -> asyncpg.Connection:
    try:
        return await server.connect()
    except Failure as error:
        raise _unavailable(server, error) from error


def _columns(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _unavailable(server: PostgresServer, error: BaseException) -> BackendUnavailable:
    hint = f"{server}: {error or type(error).__name__}"
    return BackendUnavailable("ledger.unavailable", "the ledger can't be copied", hint=hint)

"""How the schema of a SQLite ledger is read and changed."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from est_server.errors import BackendUnavailable
from est_server.storage.sqlite_file import connect, make_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

T = TypeVar("T")

_OTHERS_FINISH_WITHIN = 60.0  # seconds that an upgrade waits for the write lock


def read(path: Path, look: Callable[[Connection], T], *, read_only: bool) -> T:
    """Return what `look` finds in a transaction that reads.

    Args:
        path: the file.
        look: reads.
        read_only: as in `est_server.storage.sqlite_file.connect`.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be read or is no database.
    """
    with _connection(path, "BEGIN", read_only=read_only) as connection:
        return look(connection)


def change(path: Path, work: Callable[[Connection], None]) -> None:
    """Run `work`, which commits, in a transaction that writes; the file is made if it is missing.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be written or is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path)
    except OSError as error:
        raise _unavailable(path, error) from error
    with _connection(path, "BEGIN IMMEDIATE") as connection:
        work(connection)


@contextmanager
def _connection(path: Path, begin: str, *, read_only: bool = False) -> Iterator[Connection]:
    """Open the ledger with transactions that hold what they say, table changes too.

    Left alone, the driver starts a transaction only before rows change, not before tables do.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect(path, wait=_OTHERS_FINISH_WITHIN, read_only=read_only),
        poolclass=NullPool,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, sqlite3.Error) as error:
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: Any) -> BackendUnavailable:
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be opened",
        hint=f"{path}: {getattr(error, 'orig', None) or error}",
    )

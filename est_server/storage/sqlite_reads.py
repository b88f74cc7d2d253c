"""Reads of a SQLite ledger.

What a device waits for is found by a unique key in microseconds and runs on the event loop, where a
thread would take longer. What an operator lists may walk an index for a while and runs in a thread
with a connection of its own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from est_server.errors import BackendUnavailable
from est_server.storage import statements as sql
from est_server.storage.sqlite_connection import DIALECT, prepared
from est_server.storage.sqlite_file import connect, is_busy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sqlalchemy import ColumnElement, Executable, Select

    from est_server.storage.transaction import Reads, Transaction

T = TypeVar("T")

_BUSY_FOR = 2.0  # seconds; readers wait only while another process recovers or closes the file
_BUSY_PAUSE = 0.004
_BUSY_TRIES = int(_BUSY_FOR / _BUSY_PAUSE)


class SqliteReads:
    """Runs reads of one file. See the port for what its callers may expect."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._connect = partial(connect, path, read_only=read_only)
        self._connection: sqlite3.Connection | None = self._connect()
        self._listing: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="listing")
        self._filtered: dict[tuple[int, tuple[str, ...]], sql.Compiled] = {}
        self._closed = False

    async def one(self, statement: Executable, values: Mapping[str, Any]) -> sqlite3.Row | None:
        """Return the row that a unique key finds.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        query, picked = prepared(statement)
        tries = _BUSY_TRIES
        while True:
            try:
                found = self._hot().execute(query, picked(values)).fetchall()
            except sqlite3.Error as error:
                if not is_busy(error):
                    self._drop()
                elif tries := tries - 1:
                    await asyncio.sleep(_BUSY_PAUSE)
                    continue
                raise unreadable(error) from error
            except (UnicodeEncodeError, OverflowError):
                return None  # what can't be stored is not there
            else:
                return found[0] if found else None

    async def all(
        self, statement: Executable, values: Mapping[str, Any] = MappingProxyType({})
    ) -> list[sqlite3.Row]:
        """Return every row.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        query, picked = prepared(statement)
        return await self._list(query, picked(values))

    async def page(
        self,
        statement: Select[Any],
        filters: Mapping[str, ColumnElement[bool]],
        wanted: Mapping[str, Any],
        limit: int,
    ) -> list[sqlite3.Row]:
        """Return the first `limit` rows that pass the filters named in `wanted`.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        used = tuple(name for name in filters if name in wanted)
        key = (id(statement), used)
        if (found := self._filtered.get(key)) is None:
            filtered = statement.where(*(filters[name] for name in used))
            found = self._filtered[key] = sql.compiled(filtered, DIALECT)
        return await self._list(found.text, found.picker()({**wanted, "most": max(limit, 0)}))

    async def at_one_moment(self, read: Callable[[Transaction], T]) -> T:
        """Return what `read` finds while nothing changes for it, in a thread.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """

        def work() -> T:
            with closing(self._connect(wait=_BUSY_FOR)) as db:
                db.execute("BEGIN")
                return read(db)

        try:
            return await asyncio.to_thread(work)
        except sqlite3.Error as error:
            raise unreadable(error) from error

    async def close(self) -> None:
        """Finish the listing that runs, then close."""
        self._closed = True
        self._thread.shutdown()
        if self._listing is not None:
            self._listing.close()
            self._listing = None
        self._drop()

    def _hot(self) -> sqlite3.Connection:
        if self._closed:
            raise unreadable("it is closed")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def _list(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        if self._closed:
            raise unreadable("it is closed")
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, self._listed, query, values)
        except sqlite3.Error as error:
            raise unreadable(error) from error
        except (UnicodeEncodeError, OverflowError):
            return []

    def _listed(self, query: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        if self._listing is None:
            self._listing = self._connect(wait=_BUSY_FOR)
        try:
            return self._listing.execute(query, values).fetchall()
        except sqlite3.Error:
            self._listing.close()
            self._listing = None
            raise


def unreadable(error: object) -> BackendUnavailable:
    """Return the failure of a read."""
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be read now",
        hint=f"SQLite: {error}",
        retry_after=5,
    )


_: Callable[[Path], Reads] = SqliteReads

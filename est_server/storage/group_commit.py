"""Many callers, one commit.

A durable commit waits for the disk; the rows themselves take microseconds. So callers queue, one
task runs the statements of all that wait, each inside a savepoint of its own, and commits once.
The statements run on the event loop, where they cost less than handing them to a thread; only the
COMMIT, which waits for the disk, runs in a thread, and whoever arrives meanwhile forms the next
batch.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from est_server.errors import BackendUnavailable, EstServerError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

MOST_IN_A_BATCH = 256
_BUSY_FOR = 5.0  # seconds that another process may hold the write lock
_BUSY_PAUSE = 0.003


@dataclass(slots=True)
class _Job:
    work: Callable[[sqlite3.Connection], Any]
    done: asyncio.Future[Any]
    outcome: Any = None
    failure: Exception | None = None


@dataclass(slots=True)
class GroupCommit:
    """Runs writes on one connection, many to a transaction.

    Attributes:
        connect: opens the connection, and opens it again when it broke.
    """

    connect: Callable[[], sqlite3.Connection]
    _connection: sqlite3.Connection | None = None
    _waiting: list[_Job] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="commit")
    )

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` and return its result once it is durable.

        A caller that is cancelled while it waits does not take its write back.

        Raises:
            EstServerError: what `work` raised; its own statements are undone, no one else's.
            BackendUnavailable: ``ledger.unavailable``; nothing of the batch was kept.
        """
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finish what waits, then close the connection."""
        if self._task is not None:
            await self._task
        self._thread.shutdown()
        self._drop()

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._waiting[:MOST_IN_A_BATCH]
            del self._waiting[:MOST_IN_A_BATCH]
            try:
                await self._commit(batch)
            except sqlite3.Error as error:
                self._drop()
                unavailable = _unavailable(error)
                for job in batch:
                    job.failure = unavailable
            for job in batch:
                if job.done.done():
                    continue  # the caller was cancelled
                if job.failure is None:
                    job.done.set_result(job.outcome)
                else:
                    job.done.set_exception(job.failure)

    async def _commit(self, batch: list[_Job]) -> None:
        connection = await self._begin()
        for job in batch:
            connection.execute("SAVEPOINT job")
            try:
                job.outcome = job.work(connection)
            except (EstServerError, ValueError, TypeError) as error:
                job.failure = error
                connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
        await asyncio.get_running_loop().run_in_executor(self._thread, connection.commit)

    async def _begin(self) -> sqlite3.Connection:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _BUSY_FOR
        while True:
            if self._connection is None:
                self._connection = self.connect()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or loop.time() > deadline:
                    raise
                await asyncio.sleep(_BUSY_PAUSE)
            else:
                return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()  # an open transaction is rolled back
            self._connection = None


def _unavailable(error: sqlite3.Error) -> BackendUnavailable:
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be written now",
        hint=f"SQLite: {error} ({getattr(error, 'sqlite_errorname', 'no code')})",
        retry_after=5,
    )

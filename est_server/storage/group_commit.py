"""Many callers, one commit.

A durable commit waits for the disk; the rows themselves take microseconds. So callers queue, one
task runs the statements of all that wait and commits once. The statements run on the event loop,
where they cost less than handing them to a thread; only the COMMIT, which waits for the disk, runs
in a thread, and whoever arrives meanwhile forms the next batch.

One caller's failure must leave the others alone. A savepoint around each would do it, but SQLite
then copies every page that changes, which doubles the cost of all. Nearly every batch has no
failure, and most failures have changed nothing yet: so a batch runs without savepoints first, and
again with them when a failure left changes behind.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from est_server.errors import BackendUnavailable, Conflict, Malformed
from est_server.storage.sqlite_file import is_busy
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.storage.sqlite_connection import SqliteConnection
    from est_server.storage.transaction import Writer

T = TypeVar("T")

MOST_IN_A_BATCH = 256
BUSY_FOR = 5.0  # seconds that other processes may keep a caller from writing
_BUSY_PAUSE = 0.003
_RIVAL_FOR = 1.0  # seconds after which a process that held the lock is taken to be gone


@dataclass(slots=True)
class _Job:
    work: Callable[[SqliteConnection], Any]
    done: asyncio.Future[Any]
    since: float
    outcome: Any = None
    failure: Exception | None = None


class _LeftChanges(Exception):
    """A job failed after it had changed something."""


@dataclass(slots=True)
class GroupCommit:
    """Runs writes on one connection, many to a transaction.

    Attributes:
        connect: opens the connection, and opens it again when it broke.
        busy_for: seconds that other processes may keep a caller from writing.
    """

    connect: Callable[[], SqliteConnection]
    busy_for: float = BUSY_FOR
    _connection: SqliteConnection | None = None
    _waiting: list[_Job] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _thread: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="commit")
    )
    _closed: bool = False
    _rival_until: float = 0.0

    async def run(self, work: Callable[[SqliteConnection], T]) -> T:
        """Run `work` and return its result once it is durable.

        A caller that is cancelled while it waits does not take its write back. After
        BackendUnavailable nothing of the batch can be seen; if the disk failed in the middle of a
        commit, a restart may still bring the batch to light, whole.

        Args:
            work: changes rows and nothing else; it may run twice.

        Raises:
            EstServerError: what `work` raised; its own statements are undone, no one else's.
            Malformed: ``ledger.value``: a value that no column can hold.
            Conflict: ``ledger.constraint``: a rule of the schema that `work` knows nothing of.
            BackendUnavailable: ``ledger.unavailable``.
        """
        if self._closed:
            raise _unavailable("it is closed")
        loop = asyncio.get_running_loop()
        job = _Job(work, loop.create_future(), loop.time())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._drain())
        result: T = await job.done
        return result

    async def close(self) -> None:
        """Finish what waits, move the log into the file, then close the connection."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait((self._task,))
        if (connection := self._connection) is not None:
            self._connection = None
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, _checkpoint_and_close, connection)
        self._thread.shutdown()

    async def _drain(self) -> None:
        while self._waiting:
            batch = self._waiting[:MOST_IN_A_BATCH]
            del self._waiting[:MOST_IN_A_BATCH]
            try:
                await self._commit(batch)
            except (sqlite3.Error, MemoryError) as error:
                self._drop()
                for job in batch:
                    job.failure = _unavailable(error)
            for job in batch:
                _resolve(job)
            if asyncio.get_running_loop().time() < self._rival_until:
                await asyncio.sleep(2 * _BUSY_PAUSE)  # another process waits for its turn

    async def _commit(self, batch: list[_Job]) -> None:
        connection = await self._begin(batch[0].since)
        try:
            _run_bare(connection, batch)
        except _LeftChanges:
            connection.execute("ROLLBACK")
            connection = await self._begin(batch[0].since)
            _run_in_savepoints(connection, batch)
        # not connection.commit(): without a transaction that would be a silent success
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, connection.execute, "COMMIT")

    async def _begin(self, since: float) -> SqliteConnection:
        loop = asyncio.get_running_loop()
        while True:
            try:
                if self._connection is None:
                    self._connection = self.connect()
                self._connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                if not is_busy(error) or loop.time() > since + self.busy_for:
                    raise
                self._rival_until = loop.time() + _RIVAL_FOR
                await asyncio.sleep(_BUSY_PAUSE)
            else:
                return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()  # an open transaction is rolled back
            self._connection = None


def _run_bare(connection: SqliteConnection, batch: list[_Job]) -> None:
    """Run every job; a failure that changed nothing needs no undoing.

    Raises:
        _LeftChanges: another failure; the transaction is of no use.
    """
    for job in batch:
        before = connection.total_changes
        job.failure = _attempt(connection, job)
        if job.failure is not None and connection.total_changes != before:
            raise _LeftChanges


def _run_in_savepoints(connection: SqliteConnection, batch: list[_Job]) -> None:
    for job in batch:
        connection.execute("SAVEPOINT job")
        job.failure = _attempt(connection, job)
        if job.failure is not None:
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")


def _attempt(connection: SqliteConnection, job: _Job) -> Exception | None:
    """Run one job and return its own failure; what breaks the transaction is everyone's.

    Raises:
        sqlite3.Error, MemoryError: the store failed, not the job.
    """
    failure: Exception | None = None
    try:
        job.outcome = job.work(connection)
    except (UniqueBroken, sqlite3.IntegrityError) as error:
        failure = Conflict("ledger.constraint", "the ledger refuses this row", hint=str(error))
    except (sqlite3.DataError, sqlite3.InterfaceError, sqlite3.ProgrammingError) as error:
        failure = _unstorable(error)
    except (sqlite3.Error, MemoryError):
        raise
    except (ValueError, TypeError, OverflowError) as error:
        failure = _unstorable(error)
    except Exception as error:  # noqa: BLE001 - one caller's own: a refusal, or a defect
        failure = error
    if not connection.in_transaction:  # SQLite gave it up: what follows would commit by itself
        raise sqlite3.OperationalError("the transaction was rolled back")
    return failure


def _resolve(job: _Job) -> None:
    if job.done.done():
        return  # the caller was cancelled
    if job.failure is None:
        job.done.set_result(job.outcome)
    else:
        job.done.set_exception(job.failure)


def _checkpoint_and_close(connection: SqliteConnection) -> None:
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()


def _unstorable(error: Exception) -> Malformed:
    return Malformed(
        "ledger.value",
        "a value can't be kept as it is",
        hint=f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode(),
    )


def _unavailable(error: object) -> BackendUnavailable:
    name = getattr(error, "sqlite_errorname", None)
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be written now",
        hint=f"SQLite: {error}" + (f" ({name})" if name else ""),
        retry_after=5,
    )


_: Callable[[Callable[[], SqliteConnection]], Writer] = GroupCommit

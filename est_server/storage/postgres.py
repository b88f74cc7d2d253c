"""The ledger on PostgreSQL: for as many machines as ask it.

Each write is a transaction of its own at READ COMMITTED, on a connection of a pool; what its parts
may count on is said in `est_server.storage.transaction`, and why in
docs/adr/0026-one-set-of-transactions-for-two-engines.md. The server's own group commit lets
concurrent transactions share the wait for the disk.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
from sqlalchemy.util import greenlet_spawn

from est_server.errors import Conflict, EstServerError
from est_server.storage.ledger import SqlLedger
from est_server.storage.postgres_reads import PostgresReads
from est_server.storage.postgres_server import (
    ANSWERS_WITHIN,
    UNSTORABLE,
    Failure,
    PostgresPool,
    roll_back,
    unavailable,
    unstorable,
)
from est_server.storage.postgres_transaction import PostgresTransaction
from est_server.storage.read_only import ReadOnlyLedger
from est_server.storage.transaction import Overtaken, UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.ledger import Ledger
    from est_server.storage.postgres_server import PostgresServer
    from est_server.storage.transaction import Transaction, Writer

T = TypeVar("T")

_PAUSES = tuple(min(0.002 * 2**tried, 0.2) for tried in range(12))  # seconds, at most
_LOOKS = 3  # a row that was not there when a part looked: after so many times it is the part's own
_AGAIN = (
    Overtaken,
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.InvalidCachedStatementError,  # the schema was upgraded meanwhile
)
_KNOWN = (*Failure, *UNSTORABLE, ValueError, TypeError)


class PostgresWriter:
    """Runs each part in a transaction, again when others were faster."""

    def __init__(self, pool: PostgresPool) -> None:
        self._pool = pool
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and return its result once it is durable; see `Writer.run`.

        A caller that is cancelled does not take its write back. A connection that was lost while it
        committed may have committed: that is BackendUnavailable, and asking again is safe, since
        every write says what it expects to find.
        """
        if self._closed:
            raise unavailable("it is closed", "written")
        task = asyncio.get_running_loop().create_task(self._run(work))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        self._closed = True
        if self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not ask for it

    async def _run(self, work: Callable[[Transaction], T]) -> T:
        looks = 0
        for pause in _PAUSES:
            try:
                return await self._attempt(work)
            except _AGAIN:
                pass
            except UniqueBroken as error:
                looks += 1
                if looks == _LOOKS:
                    raise _refused(error) from error
            except _KNOWN as error:
                raise _meaning(error) from error
            await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - who comes first
        raise unavailable("others are always faster", "written")

    async def _attempt(self, work: Callable[[Transaction], T]) -> T:
        pool = await self._pool.connections()
        async with pool.acquire(timeout=ANSWERS_WITHIN) as connection:
            try:  # a connection that was cut off anywhere in here must not serve the next one
                await connection.execute("BEGIN")
                found = await greenlet_spawn(work, PostgresTransaction(connection, ANSWERS_WITHIN))
                committed = await connection.execute("COMMIT")
            except BaseException:
                await roll_back(connection)
                raise
            if committed != "COMMIT":
                raise asyncpg.InterfaceError("the transaction was rolled back")
            return found


def _meaning(error: Exception) -> EstServerError:
    if isinstance(error, asyncpg.IntegrityConstraintViolationError):
        return _refused(error)
    if isinstance(error, Failure) and not isinstance(error, UNSTORABLE):
        return unavailable(error, "written")
    return unstorable(error)


def _refused(error: Exception) -> Conflict:
    return Conflict("ledger.constraint", "the ledger refuses this row", hint=str(error))


class PostgresLedger(SqlLedger):
    """A `Ledger` on a PostgreSQL server; see the port for what each method promises.

    Args:
        server: which; `est_server.storage.schema` has made the tables.
        node: whose reservations these are, as in `NodeStatus`; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.
    """

    def __init__(self, server: PostgresServer, node: str = "", actor: str = "est-server") -> None:
        pool = PostgresPool(server)
        super().__init__(PostgresReads(pool), PostgresWriter(pool), node, actor)


def ledger_to_read(server: PostgresServer) -> Ledger:
    """Return a ledger of which nothing can be changed; the user needs no right but SELECT."""
    return ReadOnlyLedger(PostgresReads(PostgresPool(server)))


_: Callable[[PostgresPool], Writer] = PostgresWriter
_ledger: Callable[[PostgresServer], Ledger] = PostgresLedger

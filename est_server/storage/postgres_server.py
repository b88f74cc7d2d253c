"""A PostgreSQL server: how it is reached, and what its errors mean.

Everything works behind PgBouncer in transaction mode: nothing is kept in a session, and no prepared
statement outlives its transaction unless the connection is known to lead to the server itself.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import asyncpg

from est_server.errors import BackendUnavailable, Malformed

if TYPE_CHECKING:
    from pathlib import Path

ANSWERS_WITHIN = 10.0  # seconds; what a device waits for
LISTS_WITHIN = 120.0  # seconds; what walks an index
_CONNECTS_WITHIN = 5.0  # seconds
_STATEMENTS_KEPT = 256

Failure = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # cut off in the middle of an answer
    OSError,
    TimeoutError,
)
"""What the driver raises; `ssl.SSLError` is an OSError."""
BROKEN = (asyncpg.InternalClientError, OSError)
"""After these a connection may be stuck in the middle of an answer: it must serve nobody else."""
UNSTORABLE = (
    asyncpg.DataError,  # such as U+0000 in a text
    asyncpg.ProgramLimitExceededError,  # a text that is too long for an index
    UnicodeEncodeError,
    OverflowError,
)


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where a ledger is.

    Attributes:
        url: ``postgresql://USER@HOST[:PORT]/DATABASE``, without a password.
        password: of the user; None where the server asks for none.
        tls: whether the server must show a certificate for its host; never on a Unix socket.
        trust: file of the anchors that it must lead to; None for the system's.
        connections: how many at most.
    """

    url: str
    password: str | None = field(default=None, repr=False)
    tls: bool = True
    trust: Path | None = None
    connections: int = 8

    def __str__(self) -> str:
        return self.url

    def options(self) -> dict[str, Any]:
        """Return what asyncpg connects with.

        Raises:
            OSError: the anchors can't be read.
        """
        hosts = urlsplit(self.url).netloc.rpartition("@")[2]
        return {
            "dsn": self.url,
            "password": self.password,
            "timeout": _CONNECTS_WITHIN,
            "ssl": self._context() if self.tls and hosts else False,
            # of several, the one that takes writes
            "target_session_attrs": "primary" if "," in hosts else "any",
        }

    async def connect(self) -> asyncpg.Connection:
        """Open a connection that keeps nothing on the server.

        Raises:
            Failure: as the driver says.
        """
        return await asyncpg.connect(**self.options(), statement_cache_size=0)

    async def pool(self) -> asyncpg.Pool:
        """Open the connections of a ledger; statements are prepared once where that is safe.

        Raises:
            Failure: as the driver says.
        """
        first = await self.connect()
        try:
            direct = await first.fetchval("SELECT pg_backend_pid()") == first.get_server_pid()
        finally:
            with suppress(*Failure):
                await first.close(timeout=_CONNECTS_WITHIN)
        return await asyncpg.create_pool(
            **self.options(),
            min_size=0,
            max_size=self.connections,
            command_timeout=ANSWERS_WITHIN,
            statement_cache_size=_STATEMENTS_KEPT if direct else 0,
            max_cached_statement_lifetime=0,
            connection_class=_Connection,
        )

    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.trust)


class _Connection(asyncpg.Connection):  # type: ignore[misc]  # untyped
    """A connection that has no session to be tidied up, which would take a round trip each time."""

    def get_reset_query(self) -> str:
        return ""


class PostgresPool:
    """The connections of a ledger, opened by who needs them first."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._pool: asyncpg.Pool | None = None
        self._opening = asyncio.Lock()
        self._closed = False

    async def connections(self) -> asyncpg.Pool:
        """Return the pool.

        Raises:
            Failure: it can't be opened.
        """
        if self._pool is not None:
            return self._pool
        async with self._opening:
            if self._closed:
                raise asyncpg.InterfaceError("it is closed")
            if self._pool is None:
                self._pool = await self._server.pool()
        return self._pool

    async def close(self) -> None:
        """Let those finish who have a connection, then close them all."""
        async with self._opening:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            await asyncio.wait_for(pool.close(), ANSWERS_WITHIN)
        except Failure:
            pool.terminate()


async def roll_back(connection: asyncpg.Connection) -> None:
    """End a transaction; a connection that can't is of no use to anybody."""
    try:
        await connection.execute("ROLLBACK")
    except Failure:
        connection.terminate()


def unavailable(error: object, done: str) -> BackendUnavailable:
    """Return the failure of a database that is away, or can't do what it should.

    Args:
        error: what the driver raised.
        done: what can't be done now: ``read`` or ``written``.
    """
    state = getattr(error, "sqlstate", None)
    text = str(error) or type(error).__name__
    return BackendUnavailable(
        "ledger.unavailable",
        f"the ledger can't be {done} now",
        hint=f"PostgreSQL: {text}" + (f" ({state})" if state else ""),
        retry_after=5,
    )


def unstorable(error: Exception) -> Malformed:
    """Return the failure of a value that no column can hold."""
    return Malformed(
        "ledger.value",
        "a value can't be kept as it is",
        hint=f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode(),
    )

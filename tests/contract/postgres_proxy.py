"""Something between a ledger and its PostgreSQL server that cuts a connection at its COMMIT.

The server itself can't be made to fail at that one moment.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace

from est_server.storage.postgres_server import PostgresServer

COMMIT = b"COMMIT\0"


@dataclass
class CuttingProxy:
    """Passes everything on until it is told to cut.

    Attributes:
        folder: of the server's socket.
        cut: ``before`` or ``after`` the server has got a COMMIT; None passes it on.
    """

    folder: str
    cut: str | None = None

    async def __aenter__(self):
        self._ends, self._running = [], []
        self._server = await asyncio.start_server(self._client, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for end in self._ends:
            end.close()
        await asyncio.gather(*self._running, return_exceptions=True)
        await self._server.wait_closed()

    def through(self, place: PostgresServer) -> PostgresServer:
        """Return the same database, behind this."""
        user, _, rest = place.url.partition("@/")
        database = rest.partition("?")[0]
        return replace(place, url=f"{user}@127.0.0.1:{self.port}/{database}", tls=False)

    async def _client(self, reader, writer):
        self._running.append(asyncio.current_task())
        from_server, to_server = await asyncio.open_unix_connection(f"{self.folder}/.s.PGSQL.5432")
        self._ends += writer, to_server
        swallow, answered = asyncio.Event(), asyncio.Event()
        back = asyncio.create_task(_back(from_server, writer, swallow, answered))
        with suppress(OSError):
            while data := await reader.read(65536):
                when = self.cut if COMMIT in data else None
                if when == "after":
                    swallow.set()
                if when != "before":
                    to_server.write(data)
                if when is not None:
                    self.cut = None
                    if when == "after":
                        await answered.wait()  # the server has done it
                    break
        for end in (writer, to_server):
            end.close()
        await back


async def _back(reader, writer, swallow, answered):
    with suppress(OSError):
        while data := await reader.read(65536):
            if swallow.is_set():
                answered.set()
                return
            writer.write(data)
    writer.close()

"""The listeners of one process, from their first connection to their last answer.

Whoever stops them waits: a client whose connection was accepted gets the answer to its request, as
long as that takes no longer than the grace. Meanwhile another process may accept on the same
sockets.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from est_server.app.sockets import Acceptor, Sockets, address_of
from est_server.web.http import http_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from est_server.web.http import HttpLimits, HttpServer
    from est_server.web.ocsp_fast import FastOcsp
    from est_server.web.tls import ServerTls

_SHUTDOWN_SECONDS = 2.0
_PAUSE = 0.02
_CUT_OFF_WITHIN = 0.1  # seconds; to aiohttp 0 means without an end
ALONE, SHARED = 64, 1
"""Connections taken at once: by the only process that listens, by one of several."""

log = structlog.get_logger("listeners")


@dataclass(slots=True)
class _Listener:
    acceptor: Acceptor
    protocols: HttpServer
    first: FastOcsp | None
    tls: ServerTls | None

    def drain(self) -> None:
        self.protocols.drain()
        if self.first is not None:
            self.first.drain()

    def open(self) -> int:
        """Return how many connections there are; one whose handshake is not complete is one."""
        if self.tls is not None:
            return len(self.tls.connections)
        first = 0 if self.first is None else len(self.first.connections)
        return first + len(self.protocols.connections)


@dataclass(slots=True)
class Listening:
    """What this process serves.

    Attributes:
        sockets: by listener; those that were asked for and are configured.
        limits: of a connection.
        at_once: `ALONE` or `SHARED`.
    """

    sockets: Sockets
    limits: HttpLimits
    at_once: int = ALONE
    _listeners: list[_Listener] = field(default_factory=list)

    def serve(
        self,
        name: str,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        tls: tuple[ServerTls, float] | None = None,
        before: Callable[[HttpServer], FastOcsp] | None = None,
    ) -> None:
        """Serve `handler` on a listener, if this process has its sockets.

        Args:
            name: of the listener.
            handler: answers requests.
            tls: the listener's TLS and the seconds a handshake may take; None for plain HTTP.
            before: makes what every connection meets first, which hands over to the server.
        """
        if name not in self.sockets:
            return
        protocols = http_server(handler, self.limits)
        first = None if before is None else before(protocols)
        factory: Callable[[], asyncio.BaseProtocol] = first or protocols
        spoken = None
        if tls is not None:
            spoken, handshake_seconds = tls
            factory = spoken.over(
                protocols, handshake_seconds=handshake_seconds, shutdown_seconds=_SHUTDOWN_SECONDS
            )
        acceptor = Acceptor(self.sockets[name], factory, self.at_once)
        self._listeners.append(_Listener(acceptor, protocols, first, spoken))
        acceptor.start()

    def address(self, name: str) -> str | None:
        """Return where a listener is; None where it is not."""
        return address_of(self.sockets[name]) if name in self.sockets else None

    async def drain(self, grace: float) -> None:
        """Accept nothing more, and return when every request is answered, or after the grace.

        Args:
            grace: seconds; what is not answered then is cut off.
        """
        for listener in self._listeners:
            listener.protocols.draining = True  # what is accepted from here on is told at once
        await asyncio.gather(*(listener.acceptor.stop() for listener in self._listeners))
        for listener in self._listeners:
            listener.drain()
        loop = asyncio.get_running_loop()
        end = loop.time() + grace
        while (left := sum(one.open() for one in self._listeners)) and loop.time() < end:  # noqa: ASYNC110 - a connection ends in many ways
            await asyncio.sleep(_PAUSE)
        if left:
            log.warning("listeners.cut-off", connections=left)
        ends = (listener.protocols.shutdown(_CUT_OFF_WITHIN) for listener in self._listeners)
        await asyncio.gather(*ends)

"""A small protocol in front of aiohttp, on its listener, for OCSP requests that are known.

Of HTTP it reads only what is plain: GET or POST for /ocsp, version 1.1, header fields in their
usual form and without any that could change the answer. Everything else, and every other path, is
handed to aiohttp with all octets since; from there on the connection is aiohttp's.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from est_server.web.http import LONGEST_LINE
from est_server.web.ocsp_known import INCOMPLETE, NOT_PLAIN
from est_server.wire.ocsp import MOST_OCTETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.web.ocsp_known import KnownRequests

MOST_WAITING = 2 * (LONGEST_LINE + MOST_OCTETS)
"""Octets that a client may send ahead before it is not read from any more."""

_TARGET = re.compile(rb"[!-~]+")


@dataclass(slots=True)
class FastOcsp:
    """Makes the protocols of one listener; give it to `loop.create_server`.

    Attributes:
        known: answers.
        others: makes aiohttp's protocols.
        idle_timeout: seconds without a complete request.
        connections: those that are not aiohttp's.
    """

    known: KnownRequests
    others: Callable[[], asyncio.Protocol]
    idle_timeout: float
    connections: set[OcspConnection] = field(default_factory=set)

    def __call__(self) -> OcspConnection:
        """Return the protocol of a new connection."""
        return OcspConnection(self)

    def drain(self) -> None:
        """Close what is idle now, and everything else with its answer; aiohttp's is its own."""
        for connection in tuple(self.connections):
            connection.drain()


class OcspConnection(asyncio.Protocol):
    """One connection to the public listener, until aiohttp gets it."""

    __slots__ = (
        "_asking", "_buffer", "_deadline", "_draining", "_ended", "_fast", "_full", "_heard",
        "_loop", "_reading", "_timer", "_transport",
    )  # fmt: skip

    def __init__(self, fast: FastOcsp) -> None:
        self._fast = fast
        self._buffer = b""
        self._asking: asyncio.Task[None] | None = None
        self._full = False
        self._reading = True
        self._ended = False
        self._heard = False
        self._draining = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the first request, for as long as a client may be idle."""
        self._transport = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()
        self._fast.connections.add(self)
        self._rest()
        self._timer = self._loop.call_at(self._deadline, self._expire)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """Forget the connection; what was asked is answered to nobody."""
        self._let_go()

    def data_received(self, data: bytes) -> None:
        """Take in octets of requests."""
        self._heard = True
        if not self._buffer and self._asking is None and not self._full:
            ready = self._fast.known.again(data)
            if ready is not None:
                self._rest()
                self._transport.write(ready)
                if self._draining:
                    self._transport.close()
                return
        self._buffer = self._buffer + data if self._buffer else data
        self._work()

    def eof_received(self) -> bool:
        """Answer what was asked before the client stopped sending, then close."""
        self._ended = True
        return self._asking is not None or self._full

    def pause_writing(self) -> None:
        """Answer no more: what waits to be sent could be out of date when it is read."""
        self._full = True

    def resume_writing(self) -> None:
        """Go on."""
        self._full = False
        self._rest()
        self._work()

    def drain(self) -> None:
        """End the connection with its answer, or now if nothing is asked and something was."""
        self._draining = True
        if self._heard:
            self._read_or_wait()

    def _rest(self) -> None:
        """Start the time within which the next complete request has to arrive."""
        self._deadline = self._loop.time() + self._fast.idle_timeout

    def _expire(self) -> None:
        now = self._loop.time()
        if self._asking is not None:
            self._rest()
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._expire)
        elif self._transport.get_write_buffer_size():
            self._transport.abort()  # a client that does not read would never let it close
        else:
            self._transport.close()

    def _let_go(self) -> None:
        self._timer.cancel()
        self._fast.connections.discard(self)

    def _work(self) -> None:
        """Answer the requests that are complete, as far as they are known."""
        known, buffer, at = self._fast.known, self._buffer, 0
        while at < len(buffer) and self._asking is None and not self._full:
            asked, get, after = known.request_at(buffer, at)
            if after == INCOMPLETE:
                break
            ready = None if after == NOT_PLAIN else known.find(asked)
            if after == NOT_PLAIN or (ready is None and get and not _TARGET.fullmatch(asked)):
                self._hand_over(buffer[at:])
                return
            if ready is not None and after - at == len(buffer):
                known.remember(buffer, asked)
            at = after
            self._rest()
            if ready is not None:
                self._transport.write(ready)
            elif not self._transport.is_closing():
                self._asking = self._loop.create_task(self._ask(asked, get=get))
        self._buffer = buffer[at:]
        self._read_or_wait()

    def _read_or_wait(self) -> None:
        over = self._ended or (self._draining and not self._buffer)
        if over and self._asking is None and not self._full:
            self._transport.close()
        wanted = len(self._buffer) < MOST_WAITING
        if wanted != self._reading and not self._transport.is_closing():
            self._reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    async def _ask(self, asked: bytes, *, get: bool) -> None:
        answer = await self._fast.known.ask(asked, get=get)
        self._asking = None
        if not self._transport.is_closing():
            self._transport.write(answer)
            self._rest()
            self._work()

    def _hand_over(self, rest: bytes) -> None:
        """Give the connection to aiohttp, from the first octet that was not answered."""
        self._let_go()
        transport, other = self._transport, self._fast.others()
        transport.set_protocol(other)
        other.connection_made(transport)
        if not self._reading:
            transport.resume_reading()
        other.data_received(rest)

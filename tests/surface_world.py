"""The HTTP surface as somebody sees it who writes octets into TLS connections."""

from __future__ import annotations

import asyncio
import base64
import heapq
import json
import re
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fuzzing import INPUTS, MOST_CPU, TRIES, examples, tally
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Sequence

ANSWERS_WITHIN = 30.0  # seconds; the server's own limits are a second
BATCH = 20
CONNECTIONS = 16
KEPT = 40
SHOWN = 250
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")


@dataclass(frozen=True, slots=True, order=True, repr=False)
class Request:
    """Octets that are one whole request, or (`whole` False) anything at all."""

    octets: bytes
    head: bool = False
    whole: bool = True

    def __repr__(self) -> str:
        """Return the beginning: a batch of them is shown when one fails."""
        return f"<{len(self.octets)} octets: {self.octets[:SHOWN]!r}>"

    def _repr_pretty_(self, printer, _cycle) -> None:
        printer.text(repr(self))  # what hypothesis prints, who otherwise looks into a dataclass


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


def request(
    target: bytes,
    body: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = (),
    method: bytes = b"POST",
    chunks: int = 0,
) -> Request:
    """Return one whole request: its length, or its chunks, are as they should be."""
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: localhost"]
    lines += [b"%s: %s" % pair for pair in headers]
    if chunks:
        lines.append(b"Transfer-Encoding: chunked")
        step = max(1, len(body) // chunks)
        pieces = [body[at : at + step] for at in range(0, len(body), step)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body or method in {b"POST", b"PUT"}:
        lines.append(b"Content-Length: %d" % len(body))
    return Request(b"\r\n".join([*lines, b"", body]), head=method == b"HEAD")


def anything(parts: Sequence[bytes]) -> Request:
    """Return octets that need not be a request at all."""
    return Request(b"".join(parts), whole=False)


def any_octets(runner, surface, kind: str, fragments, share: float) -> None:
    """Say what is made of fragments, and see that each connection gets an answer or its end."""
    one = st.lists(fragments, max_size=12).map(anything)

    @examples(15, share / BATCH)
    @given(batch=st.lists(one, min_size=BATCH, max_size=BATCH))
    def holds(batch):
        runner.run(surface.ask_all(kind, batch))

    holds()


class Peer:
    """One client's connection, kept alive and opened again when the server has closed it."""

    def __init__(self, address: str, context: ssl.SSLContext | None, last: bytes):
        host, _, port = address.rpartition(":")
        self._where = (host, int(port))
        self._context = context
        self._last = last
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: Request) -> list[int]:
        """Send one request and return the statuses of what came back."""
        if not request.whole:
            return await self._until_closed(request.octets)
        for kept in (self._streams is not None, False):
            try:
                return [await self._one(request)]
            except (asyncio.IncompleteReadError, OSError) as error:
                await self.close()
                if not kept:
                    raise AssertionError("closed without an answer") from error
        raise AssertionError("unreachable")

    async def _one(self, request: Request) -> int:
        reader, writer = await self._open()
        try:
            writer.write(request.octets)
            await writer.drain()
        except OSError:
            pass  # it may have answered before it read everything: the answer is what counts
        status, block = 0, b""
        while status < 200:
            block = await reader.readuntil(b"\r\n\r\n")
            status = _status(block)
        length = re.search(rb"(?m)^Content-Length: ([0-9]+)\r$", block)
        assert b"Server: est-server/" in block
        assert length is not None or request.head or status in {204, 304}, block
        if length is not None and not request.head:
            body = await reader.readexactly(int(length[1]))
            assert b"Traceback" not in body
        if b"Connection: close" in block or block.startswith(b"HTTP/1.0"):
            await self.close()
        return status

    async def _until_closed(self, octets: bytes) -> list[int]:
        """Send anything, then a request that ends the connection; return every status."""
        await self.close()
        reader, writer = await self._open()
        try:
            writer.write(octets + self._last)
            await writer.drain()
            found = await reader.read()
        except OSError:
            found = b""  # reset: the server did not read everything
        await self.close()
        return [int(status) for status in _STATUS.findall(found)]

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            name = None if self._context is None else "localhost"
            self._streams = await asyncio.open_connection(
                *self._where, ssl=self._context, server_hostname=name
            )
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            _, writer = self._streams
            self._streams = None
            writer.transport.abort()


def _last(target: str) -> bytes:
    return f"\r\n\r\nGET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def _status(block: bytes) -> int:
    found = _STATUS.match(block)
    assert found is not None, block
    return int(found[1])


class Surface:
    """A listener of a running server, asked over many connections at once.

    Args:
        contexts: for TLS, taken in turns; none for a listener without.
        last: a path that is always answered.
    """

    def __init__(self, server, contexts: Sequence[ssl.SSLContext], last: str):
        address = server.est if contexts else server.public
        self._peers = [
            Peer(address, contexts[number % len(contexts)] if contexts else None, _last(last))
            for number in range(CONNECTIONS)
        ]
        self._log = server.directory / "serve.log"
        self._slowest: list[tuple[float, Request]] = []
        self.statuses: dict[int, int] = {}

    async def ask_all(self, kind: str, requests: Sequence[Request]) -> None:
        """Ask everything, spread over the connections; a 5xx or silence is a failure."""
        waiting = list(reversed(requests))

        async def client(peer: Peer) -> None:
            while waiting:
                await self._ask(kind, peer, waiting.pop())

        await asyncio.gather(*(client(peer) for peer in self._peers))

    async def _ask(self, kind: str, peer: Peer, request: Request) -> None:
        start = time.perf_counter()
        async with asyncio.timeout(ANSWERS_WITHIN):
            statuses = await peer.ask(request)
        for status in statuses:
            self.statuses[status] = self.statuses.get(status, 0) + 1
            assert 200 <= status < 500, f"{status} for {request.octets!r}"
        tally(kind).inputs += 1
        if 401 not in statuses and request.whole:  # a refused password waits, which costs nothing
            heapq.heappush(self._slowest, (time.perf_counter() - start, request))
            if len(self._slowest) > KEPT:
                heapq.heappop(self._slowest)

    def failures(self) -> list[str]:
        """Return the lines of the server's log that tell of something unforeseen."""
        return [
            line
            for line in self._log.read_text(errors="replace").splitlines()
            if "Traceback" in line or '"level": "error"' in line or '"level": "critical"' in line
        ]

    async def weigh(self, kind: str) -> None:
        """Ask what took longest once more, alone, and see what it costs the server's processor."""
        if not INPUTS:
            return
        pid = self._pid()
        peer = self._peers[0]
        for _, request in sorted(self._slowest, reverse=True):
            await peer.ask(request)
            spent = MOST_CPU
            for _ in range(TRIES):
                before = _processor_seconds(pid)
                await peer.ask(request)
                spent = min(spent, _processor_seconds(pid) - before)
            tally(kind).slowest = max(tally(kind).slowest, spent)
            assert spent < MOST_CPU, request.octets

    async def close(self) -> None:
        for peer in self._peers:
            await peer.close()

    def _pid(self) -> int:
        for line in self._log.read_text().splitlines():
            if "server.ready" in line:
                return int(json.loads(line)["pid"])
        raise AssertionError("the server's log does not name its process")


def _processor_seconds(pid: int) -> float:
    """Return what all threads of a process have run so far (Linux, nanosecond counters)."""
    found = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in found) / 1e9

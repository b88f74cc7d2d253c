"""Revocation events over plain HTTP, for gateways that follow along.

GET /revocations?since=N&limit=M   events behind N, a page of JSON; ask again with its `next`
GET /revocations/stream            the same as server-sent events; `Last-Event-ID`, or `since=N`

A stream without a position begins with what happens from now on, and says where that is. Nothing
is kept for it but its position: who reads too slowly is cut off, and resumes from its last id.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from est_server.errors import BackendUnavailable, EstServerError, Malformed
from est_server.revocation.feed import public_event
from est_server.web import metrics
from est_server.web.errors import Answer, answer_for
from est_server.web.http import SERVER, respond
from est_server.wire.event_stream import MEDIA_TYPE, StreamEvent, encode_comment, encode_event

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from est_server.revocation.feed import Feed

PATH = "/revocations"
STREAM_PATH = f"{PATH}/stream"
_DEFAULT_LIMIT, _MOST = 100, 1000
_LARGEST = (1 << 63) - 1
_BUSY_SECONDS = 30
_FULL_PAGE_SECONDS = 3600

log = structlog.get_logger("feed")


@dataclass(eq=False, slots=True)
class _Stream:
    """One reader that waits for events."""

    request: web.BaseRequest
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    @property
    def gone(self) -> bool:
        transport = self.request.transport
        return transport is None or transport.is_closing()


@dataclass(slots=True)
class FeedEndpoint:
    """Answers below `PATH`.

    Attributes:
        feed: the events.
        lists: what each CA's lists are like; part of every page.
        most_streams: how many streams this process keeps open.
        heartbeat: seconds after which a stream without events gets a comment.
        patience: seconds that a reader is given to take what was sent.
    """

    feed: Feed
    lists: Callable[[], Mapping[str, Mapping[str, object]]]
    most_streams: int
    heartbeat: float = 15.0
    patience: float = 10.0
    _streams: set[_Stream] = field(default_factory=set)
    _closed: bool = False
    _away: bool = False

    async def turn(self) -> None:
        """Look for events, and wake who waits for them, or is no more."""
        before, changed = self.feed.newest, False
        try:
            changed = await self.feed.look()
        except BackendUnavailable as error:
            if not self._away:  # four lines a second help nobody
                log.warning("feed.not-following", rule=error.rule, hint=error.hint)
            self._away = True
        else:
            self._away = False
        back = self.feed.newest < before  # a restored ledger: who comes back is told so
        for stream in self._streams:
            stream.ended = stream.ended or back
            if changed or stream.gone:
                stream.wake.set()

    def close(self) -> None:
        """End every stream; readers come back to another process, or to the next start."""
        self._closed = True
        for stream in self._streams:
            stream.wake.set()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.rel_url.path
        if path not in {PATH, STREAM_PATH}:
            return respond(Answer(404, "not-found: there is nothing here\n"))
        methods = {hdrs.METH_GET} if path == STREAM_PATH else {hdrs.METH_GET, hdrs.METH_HEAD}
        if request.method not in methods:
            return respond(Answer(405, "operation.method: use GET\n", {"Allow": "GET"}))
        try:
            if path == PATH:
                return await self._page(request)
            return await self._stream(request)
        except EstServerError as error:
            return respond(answer_for(error, realm=""))

    async def _page(self, request: web.BaseRequest) -> web.Response:
        since = _number("since", request.rel_url.query.get("since", "0"), 0, _LARGEST)
        text = request.rel_url.query.get("limit", str(_DEFAULT_LIMIT))
        limit = _number("limit", text, 1, _MOST)
        events = await self.feed.revocations.events(after=since, limit=limit + 1)
        page, more = events[:limit], len(events) > limit
        newest = page[-1].sequence if page else await self._newest()
        value = {
            "events": [public_event(event) for event in page],
            "next": min(since, newest) if not page else newest,
            "more": more,
            "reset": not page and since > newest,
            "lists": self.lists(),
        }
        body = json.dumps(value, indent=2).encode() + b"\n"
        etag = f'"{sha256(body).hexdigest()[:32]}"'
        keep = f"public, max-age={_FULL_PAGE_SECONDS}" if more else "no-cache"
        headers = {hdrs.ETAG: etag, hdrs.CACHE_CONTROL: keep, hdrs.SERVER: SERVER}
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _newest(self) -> int:
        last = await self.feed.revocations.last_event()
        return 0 if last is None else last.sequence

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        begin = request.headers.get("Last-Event-ID") or request.rel_url.query.get("since")
        position = None if begin is None else _number("since", begin, 0, _LARGEST)
        if self._closed or len(self._streams) >= self.most_streams:
            raise BackendUnavailable(
                "feed.busy", "as many follow already as may", retry_after=_BUSY_SECONDS
            )
        stream = _Stream(request)
        self._streams.add(stream)
        metrics.FEED_STREAMS.set(len(self._streams))
        try:
            newest = await self._newest()
            return await self._send(stream, newest if position is None else position, newest)
        finally:
            self._streams.discard(stream)
            metrics.FEED_STREAMS.set(len(self._streams))

    async def _send(self, stream: _Stream, position: int, newest: int) -> web.StreamResponse:
        response = web.StreamResponse(
            headers={
                hdrs.CONTENT_TYPE: f"{MEDIA_TYPE}; charset=utf-8",
                hdrs.CACHE_CONTROL: "no-store",
                "X-Accel-Buffering": "no",  # nginx as a proxy passes events on as they come
                hdrs.SERVER: SERVER,
            }
        )
        response.force_close()
        await response.prepare(stream.request)
        try:
            async with asyncio.timeout(self.patience):
                await response.write(_begin(position, newest))
            await self._follow(stream, response, min(position, newest))
            if not stream.gone:
                await response.write_eof()
        except TimeoutError:
            metrics.FEED_CUT.inc()
            log.info("feed.slow-reader", peer=stream.request.remote)
            if stream.request.transport is not None:
                stream.request.transport.abort()
        except BackendUnavailable as error:
            log.warning("feed.cut", rule=error.rule, hint=error.hint)
        except ConnectionError:
            pass  # it went away
        return response

    async def _follow(self, stream: _Stream, response: web.StreamResponse, position: int) -> None:
        """Write what comes behind `position` until the stream ends."""
        while not (self._closed or stream.ended or stream.gone):
            stream.wake.clear()
            piece = await self.feed.after(position)
            octets = piece.octets
            if not piece.count:
                try:
                    async with asyncio.timeout(self.heartbeat):
                        await stream.wake.wait()
                    continue
                except TimeoutError:
                    octets = encode_comment()
            async with asyncio.timeout(self.patience):
                await response.write(octets)
            position = piece.position
            metrics.FEED_EVENTS.inc(piece.count)


def _begin(position: int, newest: int) -> bytes:
    """Return how a stream begins: where it is, or that the reader's position is no more.

    A position that the ledger has not reached is of before it was restored from a backup: what the
    reader knows may be wrong, and it has to look at the lists.
    """
    if position <= newest:
        return encode_event(StreamEvent("", id=str(position)))
    return encode_event(StreamEvent(json.dumps({"newest": newest}), "reset", str(newest)))


def _number(name: str, text: str, least: int, most: int) -> int:
    digits = text.isascii() and text.isdecimal() and len(text) <= len(str(most))
    if not digits or not least <= int(text) <= most:
        raise Malformed(f"feed.{name}", f"{name} is a number from {least} to {most}")
    return int(text)

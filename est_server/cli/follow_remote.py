"""What `follow` asks a server: its lists, its feed."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

import aiohttp

from est_server.errors import BackendUnavailable, Denied, Malformed
from est_server.wire.crl_reading import MOST_OCTETS
from est_server.wire.event_stream import MEDIA_TYPE, EventReader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.wire.event_stream import StreamEvent

_CONNECT, _SILENCE = 10.0, 45.0
"""Seconds to connect, and seconds without an octet; a stream has a comment every 15."""
_LARGEST_PAGE = 1 << 22
_RECENT = 200


@dataclass(slots=True)
class Remote:
    """A server's public listener.

    Attributes:
        url: where it is, without a slash at its end.
        client: open until the command ends.
        tags: ETag of each list as it was last fetched.
    """

    url: str
    client: aiohttp.ClientSession
    tags: dict[str, str] = field(default_factory=dict)

    async def fetch(self, name: str) -> bytes | None:
        """Return a list's octets; None if it has not changed since.

        Raises:
            BackendUnavailable: ``remote.unreachable``, ``remote.failed``.
            Denied: ``remote.refused``: there is no such list.
        """
        tag = self.tags.get(name)
        headers = {"If-None-Match": tag} if tag else {}
        async with self._get(f"/crl/{name}", headers) as answer:
            if answer.status == 304 and tag:
                return None
            _require_ok(answer, f"/crl/{name}")
            found = await _capped(answer, MOST_OCTETS)
            if (fresh := answer.headers.get("ETag")) is not None:
                self.tags[name] = fresh
            return found

    def forget(self, name: str) -> None:
        """Ask for a list again in full: what came was no use."""
        self.tags.pop(name, None)

    async def recent(self, position: int, within: timedelta) -> tuple[list[Any], dict[str, Any]]:
        """Return the events up to `position` that lists may not show yet, and what lists are like.

        Ages are by the server's clock on both sides.

        Raises:
            BackendUnavailable: as in `fetch`.
            Denied: ``follow.feed``: this server has no feed.
        """
        since = max(0, position - _RECENT)
        async with self._get(f"/revocations?since={since}&limit={_RECENT}", {}) as answer:
            if answer.status == 404:
                _no_feed()
            _require_ok(answer, "/revocations")
            try:
                page = json.loads(await _capped(answer, _LARGEST_PAGE))
                here = parsedate_to_datetime(answer.headers.get("Date", ""))
                now = here.replace(tzinfo=here.tzinfo or UTC)
                fresh = [
                    event for event in page["events"]
                    if datetime.fromisoformat(event["at"]) >= now - within
                ]  # fmt: skip
                return fresh, dict(page["lists"])
            except (ValueError, TypeError, KeyError) as error:
                _no_feed(error)

    @asynccontextmanager
    async def stream(self, position: str) -> AsyncIterator[EventStream]:
        """Open the stream of events, behind a position or "" for what happens from now on.

        Raises:
            BackendUnavailable: it can't be opened, now or while it is read.
            Denied: ``follow.feed``.
        """
        headers = {"Accept": MEDIA_TYPE, **({"Last-Event-ID": position} if position else {})}
        async with self._get("/revocations/stream", headers) as answer:
            if answer.status == 404:
                _no_feed()
            _require_ok(answer, "/revocations/stream")
            yield EventStream(answer, EventReader(position))

    @asynccontextmanager
    async def _get(
        self, path: str, headers: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self.client.get(self.url + path, headers=headers) as answer:
                yield answer
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = f"{self.url} can't be asked: {error or type(error).__name__}"
            raise BackendUnavailable("remote.unreachable", text) from error


@dataclass(slots=True)
class EventStream:
    """An open stream; failures are those of `Remote.stream`."""

    answer: aiohttp.ClientResponse
    reader: EventReader

    async def next(self) -> list[StreamEvent]:
        """Return what came next; nothing for a comment, or for a position alone.

        Raises:
            BackendUnavailable: ``remote.closed``: the server ended the stream.
            Malformed: ``event-stream.too-large``.
        """
        octets = await self.answer.content.readany()
        if not octets:
            raise BackendUnavailable("remote.closed", "the server ended the stream", retry_after=1)
        return self.reader.take(octets)


@asynccontextmanager
async def open_remote(url: str) -> AsyncIterator[Remote]:
    """Return a server to ask until the block ends.

    Raises:
        Malformed: ``follow.url``.
    """
    if not url.startswith(("http://", "https://")) or "?" in url or "#" in url:
        raise Malformed("follow.url", f"{url!r} is no URL like http://pki.example.net:8080")
    timeout = aiohttp.ClientTimeout(sock_connect=_CONNECT, sock_read=_SILENCE)
    # a cache in between may keep a list for hours: it has to ask; plain octets, since what
    # unpacks to gigabytes is never unpacked
    headers = {"Cache-Control": "no-cache", "Accept-Encoding": "identity"}
    async with aiohttp.ClientSession(
        timeout=timeout, headers=headers, auto_decompress=False
    ) as client:
        yield Remote(url.rstrip("/"), client)


def _no_feed(error: Exception | None = None) -> NoReturn:
    hint = "give --url of the public listener of est-server, 0.1 or newer"
    raise Denied("follow.feed", "there is no revocation feed", hint=hint) from error


def _require_ok(answer: aiohttp.ClientResponse, path: str) -> None:
    if answer.status == 200:
        return
    text = f"{path}: {answer.status} {answer.reason}"
    if answer.status in {408, 429} or answer.status >= 500:
        after = answer.headers.get("Retry-After", "")
        seconds = int(after) if after.isascii() and after.isdecimal() else 1
        raise BackendUnavailable("remote.failed", text, retry_after=seconds)
    raise Denied("remote.refused", text, hint="does the CA have this name in server.yaml?")


async def _capped(answer: aiohttp.ClientResponse, most: int) -> bytes:
    pieces, size = [], 0
    async for piece in answer.content.iter_any():
        size += len(piece)
        if size > most:
            raise Malformed("remote.too-large", f"{answer.url.path} has more than {most} octets")
        pieces.append(piece)
    return b"".join(pieces)

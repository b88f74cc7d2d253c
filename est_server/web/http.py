"""HTTP/1.1 with bounds, under every listener.

What a peer may send is capped before it is parsed: the header block by aiohttp's parser, the body
here. One timer covers an idle connection and a header block that trickles in, since aiohttp starts
it with the connection and does not restart it for partial headers; the body has its own.

A server that stops drains: a connection on which a request is under way, or may be, since nothing
was heard on it yet, gets its answer and is closed with it; one that is idle is closed at once.
aiohttp's own way drops the rest of a body that is still arriving.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from est_server import __version__
from est_server.errors import EstServerError, Malformed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from est_server.web.errors import Answer

SERVER = f"est-server/{__version__}"
LONGEST_LINE = 8190
"""Octets of a request line or of one header field."""
MOST_HEADERS = 64


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What one connection may take.

    Attributes:
        body: octets of a request's body.
        body_timeout: seconds for all of a body to arrive.
        idle_timeout: seconds without a complete request, headers included.
    """

    body: int
    body_timeout: float
    idle_timeout: float


class _Connection(RequestHandler):
    """aiohttp's connection, with our words for a request that is not HTTP."""

    __slots__ = ("_heard", "_served")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._heard = self._served = False

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(self._manager, HttpServer) and self._manager.draining:
            resp.force_close()
        self._heard, self._served = bool(self._messages), True
        return await super().finish_response(request, resp, start_time)

    def close_if_idle(self) -> None:
        """Close unless a request is under way, or was never given the time to arrive."""
        if self._served and not self._heard:
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's text quotes the request: not shown
    ) -> web.StreamResponse:
        if status == 500:
            self.log_exception("unhandled exception in an HTTP handler", exc_info=exc)
        text = "internal error\n" if status == 500 else "http.malformed: this is not HTTP/1.1\n"
        response = web.Response(status=status, text=text, headers={"Server": SERVER})
        response.force_close()
        request.protocol.keep_alive(val=False)
        return response


class HttpServer(web.Server):
    """The protocols of one listener.

    Attributes:
        draining: whether every answer is the last one on its connection.
    """

    draining = False

    def __call__(self) -> RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)

    def drain(self) -> None:
        """Close what is idle now, and everything else with its answer."""
        self.draining = True
        for connection in self.connections:
            if isinstance(connection, _Connection):
                connection.close_if_idle()


def http_server(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], limits: HttpLimits
) -> HttpServer:
    """Return a protocol factory for `loop.create_server` that hands requests to `handler`."""
    options: dict[str, Any] = {
        "keepalive_timeout": limits.idle_timeout,
        "max_line_size": LONGEST_LINE,
        "max_field_size": LONGEST_LINE,
        "max_headers": MOST_HEADERS,
        "lingering_time": 0,
        "auto_decompress": False,  # a body that unpacks to gigabytes is never unpacked
        "access_log": None,
    }
    return HttpServer(handler, **options)


async def read_body(request: web.BaseRequest, limits: HttpLimits) -> bytes:
    """Return the request's body.

    Raises:
        Malformed: ``body.too-large`` beyond `HttpLimits.body`, before it is read where the client
            announced its length; ``body.timeout``; ``body.incomplete``.
    """
    if (request.content_length or 0) > limits.body:
        raise Malformed("body.too-large", f"the body is larger than {limits.body} octets")
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    content = request.content
    pieces: list[bytes] = []
    size = 0
    try:
        if content.is_eof():
            pieces.append(content.read_nowait())
            size = len(pieces[0])
        else:
            async with asyncio.timeout(limits.body_timeout):
                while size <= limits.body and (piece := await content.readany()):
                    pieces.append(piece)
                    size += len(piece)
    except TimeoutError as error:
        raise Malformed("body.timeout", "the body did not arrive in time") from error
    except (web.RequestPayloadError, ConnectionError) as error:
        raise Malformed("body.incomplete", "the body is not what its header announced") from error
    if size > limits.body:
        raise Malformed("body.too-large", f"the body is larger than {limits.body} octets")
    return b"".join(pieces)


def respond(answer: Answer) -> web.Response:
    """Return aiohttp's form of an answer in plain text."""
    response = web.Response(
        status=answer.status, text=answer.text, headers={"Server": SERVER, **answer.headers}
    )
    if answer.status in {408, 413}:
        response.force_close()  # the rest of the body is not worth reading
    return response


class MethodNotAllowed(EstServerError):
    """The path exists and does not take this method (RFC 9110 15.5.6)."""

    def __init__(self, allowed: str) -> None:
        super().__init__("operation.method", f"use {allowed}")
        self.allowed = allowed

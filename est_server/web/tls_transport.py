"""TLS between a socket's transport and a protocol: asyncio's contracts on both sides.

asyncio has the same for its own ``ssl``. This one only serves and never starts TLS on a connection
that is open, so it is shorter and takes a good part less CPU for each connection.

    handshake   until it is complete; the protocol above does not know of the connection yet
    open        octets go both ways
    goodbye     our close_notify is said; what still comes is thrown away until the peer's
    failed      our alert is said, and nothing is listened to any more
    closed

The two before the last end when the peer does, or when its time is up.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.web.tls import TlsConnection

ROOM = 65536
"""Octets that are taken from a socket at once."""
_NOBODY = asyncio.Protocol()
"""The protocol above a handshake: whatever happens is nothing to it."""


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """One connection: a protocol to the socket, a transport to the protocol above.

    Args:
        tls: the connection's TLS.
        protocol_factory: makes the protocol above when the handshake is complete.
        room: `ROOM` octets. All connections of a loop may share it: what is in it is taken out
            before anything else is received.
        handshake_seconds: after these a connection without a complete handshake is dropped.
        shutdown_seconds: how long the end waits for the peer's.
        connections: those of its listener, among which it is until it is closed.
    """

    __slots__ = (
        "_connections", "_factory", "_loop", "_protocol", "_reading", "_room", "_shutdown_seconds",
        "_socket", "_state", "_timer", "_tls",
    )  # fmt: skip

    def __init__(
        self,
        tls: TlsConnection,
        protocol_factory: Callable[[], asyncio.Protocol],
        room: bytearray,
        handshake_seconds: float,
        shutdown_seconds: float,
        connections: set[TlsTransport],
    ) -> None:
        super().__init__()
        self._connections = connections
        connections.add(self)
        self._tls = tls
        self._factory = protocol_factory
        self._protocol = _NOBODY
        self._room = memoryview(room)
        self._shutdown_seconds = shutdown_seconds
        self._state: Literal["handshake", "open", "goodbye", "failed", "closed"] = "handshake"
        self._reading = True
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(handshake_seconds, self.abort)

    # -- a protocol to the socket ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the peer, who speaks first."""
        self._socket = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's signature
        """Return where the next octets go."""
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        """Take the next octets."""
        if self._state == "failed":
            return
        self._tls.incoming(self._room[:nbytes])
        if self._state == "handshake":
            self._shake_hands()
        if self._state != "handshake":
            self._read()

    def eof_received(self) -> None:
        """Let the socket close, whether or not the peer said goodbye first."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol."""
        self._state = "closed"
        self._connections.discard(self)
        self._timer.cancel()
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Tell the protocol."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Tell the protocol."""
        self._protocol.resume_writing()

    # -- a transport to the protocol above ---------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return the `TlsConnection` as ``ssl_object``, or what the socket's transport knows."""
        if name in {"ssl_object", "sslcontext"}:  # by the second aiohttp knows https
            return self._tls
        return self._socket.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Let another protocol go on."""
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol above."""
        return self._protocol

    def is_reading(self) -> bool:
        """Tell whether octets are handed on."""
        return self._reading and not self.is_closing()

    def pause_reading(self) -> None:
        """Hand nothing on, and take nothing more from the socket."""
        self._reading = False
        self._socket.pause_reading()

    def resume_reading(self) -> None:
        """Hand on what waited, then take more."""
        if not self._reading:
            self._reading = True
            self._socket.resume_reading()
            self._loop.call_soon(self._read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send octets; after the end they go nowhere."""
        if self.is_closing() or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self._fail()
        self._send()

    def get_write_buffer_size(self) -> int:
        """Return how many octets wait for the socket."""
        return self._socket.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return the socket's."""
        return self._socket.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the socket's."""
        self._socket.set_write_buffer_limits(high, low)

    def can_write_eof(self) -> bool:
        """Tell that there is no half of a close: `close` is both."""
        return False

    def is_closing(self) -> bool:
        """Tell whether the end has begun."""
        return self._state != "open" or self._socket.is_closing()

    def close(self) -> None:
        """Say goodbye and wait for the peer's.

        Closing a socket with unread data resets the connection, and a reset can take an answer
        with it that the peer has not read yet.
        """
        if self.is_closing():
            return
        try:
            self._tls.say_goodbye()
        except ssl.SSLError:
            self._fail()
        else:
            self._end("goodbye")
        self._send()

    def abort(self) -> None:
        """Close without a word."""
        self._socket.abort()

    # -- between them ------------------------------------------------------------------------------

    def _shake_hands(self) -> None:
        complete = False
        try:
            complete = self._tls.do_handshake()
        except ssl.SSLError:
            self._fail()
        # TLS 1.3 tickets could travel with the first answer, but sent now they carry the ACK that a
        # client with Nagle's algorithm waits for before it sends its request: 40 ms otherwise
        self._send()
        if complete and not self._socket.is_closing():  # or its end would be told first
            self._timer.cancel()
            self._state = "open"
            self._protocol = self._factory()
            self._protocol.connection_made(self)

    def _read(self) -> None:
        """Hand on what the peer said, or throw it away after the goodbye."""
        while self._state == "goodbye" or self.is_reading():
            try:
                data = self._tls.read()
            except ssl.SSLError:
                self._fail()
                break
            if data is None:
                break
            if not data:
                self._hear_goodbye()
                break
            if self._state == "open":
                self._protocol.data_received(data)
        self._send()

    def _hear_goodbye(self) -> None:
        if self._state == "open":
            self._protocol.eof_received()
            self.close()
        self._socket.close()

    def _fail(self) -> None:
        """End a connection that TLS can't go on with; it has left an alert to be sent."""
        if self._state == "goodbye":
            self.abort()
        else:
            self._end("failed")

    def _end(self, state: Literal["goodbye", "failed"]) -> None:
        self._state = state
        self._timer.cancel()
        self._timer = self._loop.call_later(self._shutdown_seconds, self.abort)
        self._socket.resume_reading()

    def _send(self) -> None:
        while data := self._tls.outgoing(ROOM):
            self._socket.write(data)
            if len(data) < ROOM:
                break

"""TLS on pyOpenSSL: what one connection says and hears, without a socket.

OpenSSL reads and writes memory here; `est_server.web.tls_transport` carries the octets. Failures
are `ssl.SSLError`, an `OSError`, which asyncio takes for what it is: a peer's.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from OpenSSL import SSL

from est_server.web.tls_facts import Intermediates, read_facts
from est_server.web.tls_openssl import clear_errors
from est_server.web.tls_transport import ROOM, TlsTransport

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from est_server.ports.tls import TlsFacts

    Octets = bytes | bytearray | memoryview

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 3.0
_LARGEST_RECORD = 16384


class ServerTls:
    """The TLS of one listener; ``transport.get_extra_info("ssl_object")`` is a `TlsConnection`.

    Args:
        context: what `est_server.web.tls_context.server_context` made.

    Attributes:
        connections: those that are not closed; the handshake of some is not complete yet.
    """

    def __init__(self, context: SSL.Context) -> None:
        self._context = context
        self._intermediates = Intermediates()
        self.connections: set[TlsTransport] = set()

    def replace(self, context: SSL.Context) -> None:
        """Use another context, with another certificate, for the connections from now on."""
        self._context = context

    def over(
        self,
        protocol_factory: Callable[[], asyncio.Protocol],
        *,
        handshake_seconds: float = HANDSHAKE_SECONDS,
        shutdown_seconds: float = SHUTDOWN_SECONDS,
    ) -> Callable[[], TlsTransport]:
        """Return a protocol factory for `loop.create_server` that speaks TLS below another.

        Args:
            protocol_factory: for example an `aiohttp.web.Server`.
            handshake_seconds: after these a connection without a complete handshake is dropped.
            shutdown_seconds: how long a closed connection waits for the peer's close_notify.
        """
        room = bytearray(ROOM)
        return lambda: TlsTransport(
            self.connection(),
            protocol_factory,
            room,
            handshake_seconds,
            shutdown_seconds,
            self.connections,
        )

    def connection(self) -> TlsConnection:
        """Return the server's end of a new connection."""
        return TlsConnection(self._context, self._intermediates)


class TlsConnection:
    """One connection. What it has to say after any call is in `outgoing`."""

    __slots__ = ("_connection", "_facts", "_intermediates")

    def __init__(self, context: SSL.Context, intermediates: Intermediates) -> None:
        self._connection = SSL.Connection(context)
        self._connection.set_accept_state()
        self._intermediates = intermediates
        self._facts: TlsFacts | None = None

    def incoming(self, data: Octets) -> None:
        """Take octets from the peer; not none."""
        self._connection.bio_write(data)

    def outgoing(self, most: int) -> bytes:
        """Return octets for the peer, `most` at a time; none at the end."""
        try:
            return self._connection.bio_read(most)
        except SSL.WantReadError:
            return b""

    def do_handshake(self) -> bool:
        """Go on with the handshake and tell whether it is complete; if not, the peer is next.

        Raises:
            ssl.SSLError: it failed; the alert is in `outgoing`.
        """
        clear_errors()
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise _translated(error) from None
        return True

    def read(self) -> bytes | None:
        """Return what the peer said next; none of it when it said goodbye, None if it is next.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        clear_errors()
        try:
            return self._connection.recv(_LARGEST_RECORD)
        except SSL.ZeroReturnError:
            return b""
        except SSL.WantReadError:
            return None
        except SSL.Error as error:
            raise _translated(error) from None

    def write(self, data: Octets) -> None:
        """Encrypt all of `data`; memory never makes it wait.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        clear_errors()
        try:
            self._connection.sendall(data)
        except SSL.Error as error:
            raise _translated(error) from None

    def say_goodbye(self) -> None:
        """Write the close_notify; nothing can be written after it.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        clear_errors()
        try:
            self._connection.shutdown()
        except SSL.Error as error:
            raise _translated(error) from None

    def facts(self) -> TlsFacts:
        """Return what the finished handshake showed; computed once."""
        if self._facts is None:
            clear_errors()
            self._facts = read_facts(self._connection, self._intermediates)
        return self._facts


def _translated(error: SSL.Error) -> ssl.SSLError:
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = "; ".join(reason for _, _, reason in stack)
    return ssl.SSLError(ssl.SSL_ERROR_SSL, reasons or "TLS failed")

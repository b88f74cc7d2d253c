"""TLS on pyOpenSSL, in the form that asyncio's own TLS takes.

asyncio asks its ``ssl`` argument for one thing, ``wrap_bio``, and the object that this returns for
seven: they are the methods of `TlsConnection`. asyncio makes the two `ssl.MemoryBIO`; OpenSSL has
its own pair inside a `SSL.Connection`, and the bytes are carried from one to the other.

asyncio knows only the exceptions of ``ssl``: what pyOpenSSL raises is translated. `ssl.SSLError`
is an `OSError`, so a peer that sends rubbish or goes away is logged in debug mode only.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, cast

from OpenSSL import SSL

from est_server.web.tls_facts import Intermediates, read_facts
from est_server.web.tls_openssl import clear_errors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from est_server.ports.tls import TlsFacts

HANDSHAKE_SECONDS = 10.0
SHUTDOWN_SECONDS = 3.0
_LARGEST_RECORD = 16384


class ServerTls:
    """The TLS of one listener; ``transport.get_extra_info("ssl_object")`` is a `TlsConnection`.

    Args:
        context: what `est_server.web.tls_context.server_context` made.
    """

    def __init__(self, context: SSL.Context) -> None:
        self._context = context
        self._intermediates = Intermediates()

    def replace(self, context: SSL.Context) -> None:
        """Use another context, with another certificate, for the connections from now on."""
        self._context = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,
        server_hostname: str | None = None,  # noqa: ARG002 - the signature is asyncio's
    ) -> TlsConnection:
        """Return the server's end of a new connection.

        Raises:
            ValueError: asked for a client's end.
        """
        if not server_side:
            raise ValueError("this TLS serves")
        return TlsConnection(self._context, incoming, outgoing, self._intermediates)


async def listen_tls(
    protocol_factory: Callable[[], asyncio.BaseProtocol],
    tls: ServerTls,
    sock: socket.socket,
    *,
    backlog: int = 1024,
    handshake_seconds: float = HANDSHAKE_SECONDS,
    shutdown_seconds: float = SHUTDOWN_SECONDS,
) -> asyncio.Server:
    """Serve a bound socket over TLS.

    Args:
        protocol_factory: for example an `aiohttp.web.Server`.
        tls: the listener's TLS.
        sock: a bound stream socket; the server closes it.
        backlog: how many connections wait to be accepted.
        handshake_seconds: after these a connection without a complete handshake is dropped.
        shutdown_seconds: how long a closed connection waits for the peer's close_notify.
    """
    return await asyncio.get_running_loop().create_server(
        protocol_factory,
        sock=sock,
        backlog=backlog,
        ssl=cast("ssl.SSLContext", tls),
        ssl_handshake_timeout=handshake_seconds,
        ssl_shutdown_timeout=shutdown_seconds,
    )


class TlsConnection:
    """One connection, as asyncio's ``sslproto`` uses it; see `ssl.SSLObject` for the contract."""

    __slots__ = ("_connection", "_facts", "_failure", "_incoming", "_intermediates", "_outgoing")

    def __init__(
        self,
        context: SSL.Context,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        intermediates: Intermediates,
    ) -> None:
        self._connection = SSL.Connection(context)
        self._connection.set_accept_state()
        self._incoming = incoming
        self._outgoing = outgoing
        self._intermediates = intermediates
        self._failure: ssl.SSLError | None = None
        self._facts: TlsFacts | None = None

    def do_handshake(self) -> None:
        """Go on with the handshake.

        Raises:
            ssl.SSLWantReadError: the peer is next, also after a failure: asyncio sends what is in
                `outgoing`, here the alert, in this case only.
            ssl.SSLError: the handshake had failed before.
        """
        if self._failure is not None:
            raise self._failure
        self._feed()
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            self._drain()
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            self._failure = _translated(error)
            self._drain()
            if not self._outgoing.pending:
                raise self._failure from None
            raise ssl.SSLWantReadError from None
        # TLS 1.3 tickets could travel with the first answer, but sent now they carry the ACK that a
        # client with Nagle's algorithm waits for before it sends its request: 40 ms otherwise
        self._drain()

    def read(self, size: int = _LARGEST_RECORD, buffer: memoryview | None = None) -> bytes | int:
        """Return the next bytes, or put them into `buffer` and return how many; none at the end.

        Raises:
            ssl.SSLWantReadError: the peer is next.
            ssl.SSLError: the connection is broken.
        """
        self._feed()
        try:
            if buffer is None:
                return self._connection.recv(min(size, _LARGEST_RECORD))
            return self._connection.recv_into(buffer, min(size, _LARGEST_RECORD))
        except SSL.ZeroReturnError:
            return b"" if buffer is None else 0
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            raise _translated(error) from None
        finally:
            self._drain()

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Encrypt all of `data`; memory never makes it wait.

        Raises:
            ssl.SSLError: the connection is broken.
        """
        clear_errors()
        try:
            return self._connection.sendall(data)
        except SSL.Error as error:
            raise _translated(error) from None
        finally:
            self._drain()

    def unwrap(self) -> None:
        """Say goodbye and wait for the peer's; what it still sends meanwhile is thrown away.

        Closing a socket with unread data resets the connection, and a reset can take an answer
        with it that the peer has not read yet.

        Raises:
            ssl.SSLWantReadError: the peer has not said goodbye.
            ssl.SSLError: the connection is broken.
        """
        self._feed()
        try:
            if not self._connection.get_shutdown() & SSL.SENT_SHUTDOWN:
                self._connection.shutdown()
            while True:
                self._connection.recv(_LARGEST_RECORD)
        except SSL.ZeroReturnError:
            return
        except SSL.WantReadError:
            raise ssl.SSLWantReadError from None
        except SSL.Error as error:
            raise _translated(error) from None
        finally:
            self._drain()

    def getpeercert(self) -> None:
        """Return nothing: whoever judges the client's certificate finds it in `facts`."""

    def cipher(self) -> tuple[str | None, str, int | None]:
        """Return the suite's name, the protocol version and the secret bits."""
        connection = self._connection
        return (
            connection.get_cipher_name(),
            connection.get_protocol_version_name(),
            connection.get_cipher_bits(),
        )

    def compression(self) -> None:
        """Return nothing: there is none."""

    def facts(self) -> TlsFacts:
        """Return what the finished handshake showed; computed once."""
        if self._facts is None:
            clear_errors()
            self._facts = read_facts(self._connection, self._intermediates)
        return self._facts

    def _feed(self) -> None:
        clear_errors()
        if self._incoming.pending:
            self._connection.bio_write(self._incoming.read())

    def _drain(self) -> None:
        try:
            while True:
                self._outgoing.write(self._connection.bio_read(4 * _LARGEST_RECORD))
        except SSL.WantReadError:
            return


def _translated(error: SSL.Error) -> ssl.SSLError:
    # a plain SSLError: asyncio takes the subclass SSLSyscallError for "try again"
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    reasons = "; ".join(reason for _, _, reason in stack)
    return ssl.SSLError(ssl.SSL_ERROR_SSL, reasons or "TLS failed")

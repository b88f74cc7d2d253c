"""A TLS connection that hides nothing: what goes out and comes in, and the channel bindings.

pyOpenSSL, because the standard library's ``ssl`` has no exporter (RFC 9266) and calls something
``tls-unique`` on TLS 1.3, where there is none (RFC 8446 C.5).
"""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from base64 import b64encode
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from cryptography import x509
from OpenSSL import SSL

from interop.conformance.http import Response, read_response

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Version = Literal["1.2", "1.3"]
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_LARGEST_RECORD = 16384
_Result = TypeVar("_Result")


class ConnectionFailed(Exception):
    """The connection could not be made, broke, or took too long."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server and how to reach it.

    Attributes:
        host: name or address.
        port: of the EST service.
        anchors: PEM file of the explicit trust anchors; None trusts whatever answers.
        seconds: how long any one answer may take.
        source: the local address to connect from.
    """

    host: str
    port: int
    anchors: Path | None = None
    seconds: float = 20.0
    source: str | None = None

    def connect(
        self,
        version: Version | None = None,
        identity: Identity | None = None,
        session: Session | None = None,
    ) -> Connection:
        """Return a new connection after its handshake.

        Raises:
            ConnectionFailed: no connection, or no handshake.
        """
        return Connection(self, version, identity, session)


@dataclass(frozen=True, slots=True)
class Identity:
    """A client's certificate, with its chain, and its key; both PEM files."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Session:
    """What a later connection can resume; OpenSSL resumes within one context only."""

    context: SSL.Context
    ticket: SSL.Session


@dataclass(slots=True)
class Exchange:
    """What was sent and received, in order."""

    pieces: list[tuple[Literal[">", "<"], bytes]] = field(default_factory=list)

    def add(self, direction: Literal[">", "<"], data: bytes) -> None:
        """Append octets to those of the same direction before them."""
        if self.pieces and self.pieces[-1][0] == direction:
            self.pieces[-1] = (direction, self.pieces[-1][1] + data)
        else:
            self.pieces.append((direction, data))


class Connection:
    """One connection to an EST server.

    Attributes:
        exchange: everything sent and received on it.
        resumed: whether the handshake resumed a session.
        seconds: how long any one answer may take.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        version: Version | None,
        identity: Identity | None,
        session: Session | None,
    ) -> None:
        self.exchange = Exchange()
        self.resumed = True
        self.seconds = endpoint.seconds
        self._buffer = b""
        self._context = session.context if session else _context(endpoint, version, identity)
        try:
            where = (endpoint.host, endpoint.port)
            source = (endpoint.source, 0) if endpoint.source else None
            self._socket = socket.create_connection(where, self.seconds, source)
        except OSError as error:
            raise ConnectionFailed(f"no connection: {error}") from error
        self._socket.settimeout(0)
        self._tls = SSL.Connection(self._context, self._socket)
        self._tls.set_app_data(self)
        if not _is_address(endpoint.host):
            self._tls.set_tlsext_host_name(endpoint.host.encode("idna"))
        self._tls.set_connect_state()
        if session is not None:
            self._tls.set_session(session.ticket)
        try:
            self._wait("handshake", self._tls.do_handshake)
            if endpoint.anchors is not None:
                _require_name(self._tls, endpoint.host)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def version(self) -> Version:
        """The negotiated version."""
        return "1.3" if self._tls.get_protocol_version_name() == "TLSv1.3" else "1.2"

    @property
    def finished(self) -> bytes:
        """The first Finished message of the handshake: `tls-unique` on TLS 1.2 (RFC 5929 3.1)."""
        found = self._tls.get_peer_finished() if self.resumed else self._tls.get_finished()
        return found or b""

    @property
    def exported(self) -> bytes:
        """`tls-exporter` (RFC 9266)."""
        return self._tls.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")

    @property
    def binding(self) -> str:
        """The right value for a challengePassword on this connection (RFC 7030 3.5)."""
        return b64encode(self.exported if self.version == "1.3" else self.finished).decode()

    @property
    def session(self) -> Session | None:
        """The session to resume; on TLS 1.3 there is one after the first answer only."""
        ticket = self._tls.get_session()
        return None if ticket is None else Session(self._context, ticket)

    @property
    def server_chain(self) -> list[x509.Certificate]:
        """The server's certificates as sent, its own first."""
        return self._tls.get_peer_cert_chain(as_cryptography=True) or []

    def renegotiate(self) -> bool:
        """Ask for a new handshake and tell whether the server went along.

        Raises:
            ConnectionFailed: the server ended the connection.
        """
        before = self._tls.total_renegotiations()
        self._tls.renegotiate()
        self._wait("renegotiation", self._tls.do_handshake)
        return self._tls.total_renegotiations() > before

    def send(self, data: bytes) -> None:
        """Send octets as they are.

        Raises:
            ConnectionFailed: they could not be sent.
        """
        self.exchange.add(">", data)
        rest = data
        while rest:
            piece = rest[:_LARGEST_RECORD]
            sent = self._wait("sending", lambda piece=piece: self._tls.send(piece))  # type: ignore[misc]
            rest = rest[sent:]

    def receive(self) -> bytes:
        """Return the next record's octets; none at the end.

        Raises:
            ConnectionFailed: nothing came in time, or the connection broke.
        """
        try:
            data = self._wait("answer", lambda: self._tls.recv(_LARGEST_RECORD))
        except SSL.ZeroReturnError:
            return b""
        self.exchange.add("<", data)
        return data

    def response(self, method: str = "GET") -> Response:
        """Return the next final response.

        Args:
            method: of the request that it answers: one to HEAD has no body.

        Raises:
            ConnectionFailed: none came.
        """
        try:
            found, self._buffer = read_response(method, self._buffer, self.receive)
        except ValueError as error:
            raise ConnectionFailed(str(error)) from error
        return found

    def closed(self) -> bool:
        """Tell whether the server ends the connection, now or within the time for an answer."""
        try:
            return self.receive() == b""
        except ConnectionFailed as error:
            return "time" not in str(error)

    def close(self) -> None:
        """Say goodbye and close."""
        try:
            self._tls.shutdown()
        except SSL.Error:
            pass
        finally:
            self._socket.close()

    def _wait(self, what: str, call: Callable[[], _Result]) -> _Result:
        until = time.monotonic() + self.seconds
        while True:
            try:
                return call()
            except SSL.WantReadError:
                self._ready(what, until, reading=True)
            except SSL.WantWriteError:
                self._ready(what, until, reading=False)
            except SSL.ZeroReturnError:
                raise
            except SSL.SysCallError as error:
                if what == "answer" and error.args[0] == -1:
                    raise SSL.ZeroReturnError from error  # closed without a close_notify
                raise ConnectionFailed(f"{what}: the connection broke: {error}") from error
            except SSL.Error as error:
                raise ConnectionFailed(f"{what}: {_reasons(error)}") from error

    def _ready(self, what: str, until: float, *, reading: bool) -> None:
        wanted = [self._socket]
        left = max(0.0, until - time.monotonic())
        if not any(select.select(wanted if reading else [], [] if reading else wanted, [], left)):
            raise ConnectionFailed(f"{what}: nothing happened in time")


def _context(endpoint: Endpoint, version: Version | None, identity: Identity | None) -> SSL.Context:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(_VERSIONS[version or "1.2"])
    context.set_max_proto_version(_VERSIONS[version or "1.3"])
    context.set_alpn_protos([b"http/1.1"])
    trusting = endpoint.anchors is None
    if endpoint.anchors is not None:
        context.load_verify_locations(str(endpoint.anchors))

    def verify(tls: SSL.Connection, __: object, ___: int, ____: int, ok: int) -> bool:
        tls.get_app_data().resumed = False  # a resumed handshake has no certificate to verify
        return trusting or ok == 1

    context.set_verify(SSL.VERIFY_PEER, verify)
    if identity is not None:
        context.use_certificate_chain_file(str(identity.certificate))
        context.use_privatekey_file(str(identity.key))
    return context


def _reasons(error: SSL.Error) -> str:
    stack = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(reason for _, _, reason in stack) or "TLS failed"


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _require_name(tls: SSL.Connection, host: str) -> None:
    """Refuse a server whose certificate is for another name (RFC 9525 6)."""
    certificate = tls.get_peer_certificate(as_cryptography=True)
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value  # type: ignore[union-attr]
    except x509.ExtensionNotFound:
        raise ConnectionFailed("the server's certificate has no subjectAltName") from None
    if _is_address(host):
        fits = ipaddress.ip_address(host) in san.get_values_for_type(x509.IPAddress)
        fits = fits or host in san.get_values_for_type(x509.DNSName)
    else:
        wild = f"*.{host.partition('.')[2]}"
        fits = {host.lower(), wild} & {
            name.lower() for name in san.get_values_for_type(x509.DNSName)
        } != set()
    if not fits:
        raise ConnectionFailed(f"the server's certificate is not for {host}")

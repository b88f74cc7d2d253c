"""TLS by pyOpenSSL under asyncio and aiohttp, unchanged.

The standard library's `ssl` has no exporter, kills the handshake over one bad client certificate
and is bound to the system's OpenSSL. asyncio asks of a context only that it has `wrap_bio`, so
`TlsContext` provides that and `_TlsObject` speaks asyncio's side of an `ssl.SSLObject` over a
pyOpenSSL connection with memory BIOs.

What a client offers as its certificate is taken as offered: expired, unknown and self-signed ones
complete the handshake and reach our own judgement as `TlsFacts`. OpenSSL still demands proof of
the private key (CertificateVerify), and a certificate that is no DER ends the handshake.

Renegotiation, compression and everything below TLS 1.2 are off. The groups are OpenSSL's default,
which offers X25519MLKEM768 first.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL

from est_server.ports.tls import TlsFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL"
EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
EXPORTER_LENGTH = 32
_CHUNK = 65536
_ALPN = b"http/1.1"


def server_context(
    chain: Sequence[x509.Certificate],
    key: CertificateIssuerPrivateKeyTypes,
    *,
    ask_for_certificate: bool,
) -> SSL.Context:
    """Return a server's context.

    Args:
        chain: the server's certificate and what stands above it, leaf first.
        key: the leaf's private key.
        ask_for_certificate: request a client certificate, of any issuer.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_cipher_list(CIPHERS)
    context.use_certificate(chain[0])
    for certificate in chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(key)
    context.check_privatekey()
    # resumption of sessions with a client certificate needs a session id context
    context.set_session_id(b"est-server")
    context.set_session_cache_mode(SSL.SESS_CACHE_SERVER)
    context.set_alpn_select_callback(_select_protocol)
    if ask_for_certificate:
        context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE, _accept_any)
    return context


def _accept_any(*_: object) -> bool:
    return True  # judged by est_server.enrollment.authenticate


def _select_protocol(_: SSL.Connection, offered: list[bytes]) -> Any:
    return _ALPN if _ALPN in offered else SSL.NO_OVERLAPPING_PROTOCOLS


class TlsContext:
    """What `loop.create_server(ssl=…)` gets; the context inside can be replaced while it runs."""

    def __init__(self, context: SSL.Context) -> None:
        self.context = context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = True,  # noqa: FBT001, FBT002 - asyncio's signature
        server_hostname: str | None = None,  # noqa: ARG002 - asyncio's signature
    ) -> _TlsObject:
        """Return the TLS object of a new connection; asyncio calls it once per connection."""
        if not server_side:
            raise ValueError("this context is for servers")
        return _TlsObject(self.context, incoming, outgoing)


class _TlsObject:
    """asyncio's `ssl.SSLObject` over pyOpenSSL; `facts` is what we add."""

    def __init__(
        self, context: SSL.Context, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO
    ) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._connection = SSL.Connection(context, None)
        self._connection.set_accept_state()
        self._finished_first: bytes | None = None
        self._facts: TlsFacts | None = None

    def _run(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """Feed what arrived, call, and pass on what is to be sent, whatever the outcome."""
        connection = self._connection
        if self._incoming.pending:
            connection.bio_write(self._incoming.read())
        try:
            return call(*arguments)
        except SSL.WantReadError as error:
            if self._incoming.eof:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer is gone") from error
            raise ssl.SSLWantReadError from error
        except SSL.ZeroReturnError as error:
            raise ssl.SSLZeroReturnError from error
        except (SSL.WantWriteError, SSL.SysCallError) as error:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer is gone") from error
        except SSL.Error as error:
            raise ssl.SSLError(ssl.SSL_ERROR_SSL, str(error)) from error
        finally:
            self._flush()

    def _flush(self) -> None:
        while True:
            try:
                self._outgoing.write(self._connection.bio_read(_CHUNK))
            except SSL.WantReadError:
                return

    def do_handshake(self) -> None:
        """Go on with the handshake."""
        try:
            self._run(self._connection.do_handshake)
        finally:
            self._note_finished()

    def _note_finished(self) -> None:
        """Remember the first Finished message of the handshake (RFC 5929 3.1).

        On a full handshake the client's comes first, on a resumed one the server's: then ours is
        there while the client's is not.
        """
        if self._finished_first is None:
            self._finished_first = (
                self._connection.get_peer_finished() or self._connection.get_finished()
            )

    def read(self, size: int, buffer: Any = None) -> Any:
        """Read into `buffer`, or return octets."""
        if buffer is None:
            return self._run(self._connection.recv, size)
        return self._run(self._connection.recv_into, buffer, size)

    def write(self, data: Any) -> int:
        """Encrypt `data`; memory takes it all."""
        count: int = self._run(self._connection.send, bytes(data))
        return count

    def unwrap(self) -> None:
        """Send our close_notify; the peer's is not waited for (RFC 8446 6.1)."""
        self._run(self._connection.shutdown)

    def pending(self) -> int:
        """Return how many decrypted octets wait."""
        return self._connection.pending()

    def getpeercert(self) -> None:
        """Return nothing: certificates are in `facts`."""

    def cipher(self) -> tuple[str, str, int]:
        """Return name, protocol and secret bits, as `ssl.SSLObject` does."""
        connection = self._connection
        return (
            connection.get_cipher_name() or "",
            connection.get_protocol_version_name(),
            connection.get_cipher_bits() or 0,
        )

    def compression(self) -> None:
        """Return nothing: there is none."""

    def facts(self) -> TlsFacts:
        """Return what is known of this connection; the same value every time."""
        if self._facts is None:
            self._facts = self._learn()
        return self._facts

    def _learn(self) -> TlsFacts:
        connection = self._connection
        version = connection.get_protocol_version_name()
        tls_1_2 = version == "TLSv1.2"
        leaf = connection.get_peer_certificate(as_cryptography=True)
        # a server's chain leaves the leaf out; a resumed session may have kept the leaf alone
        above = connection.get_peer_cert_chain(as_cryptography=True) or []
        chain = [] if leaf is None else [leaf, *(found for found in above if found != leaf)]
        server_name = connection.get_servername()
        return TlsFacts(
            version=version,
            cipher=connection.get_cipher_name() or "",
            group=connection.get_group_name(),
            server_name=None if server_name is None else server_name.decode("ascii", "replace"),
            client_chain=tuple(found.public_bytes(Encoding.DER) for found in chain),
            tls_unique=self._finished_first if tls_1_2 else None,
            tls_exporter=None
            if tls_1_2
            else connection.export_keying_material(EXPORTER_LABEL, EXPORTER_LENGTH, b""),
        )

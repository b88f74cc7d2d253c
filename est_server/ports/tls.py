"""What TLS knows about one connection, for those who decide who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """A connection after its handshake. Nothing here has been judged.

    The channel bindings exclude each other: ``tls-unique`` is undefined on TLS 1.3 (RFC 8446 C.5)
    and ``tls-exporter`` is offered on TLS 1.3 alone. Both are None on a TLS 1.2 connection without
    the extended master secret: there the master secret is not bound to the handshake, so a server
    in the middle can give two connections the same ``tls-unique`` (triple handshake), and RFC 7627
    5.4 forbids to authenticate with anything that is derived from it.

    Attributes:
        version: the negotiated protocol.
        cipher: OpenSSL's name of the cipher suite, for example ``TLS_AES_256_GCM_SHA384``.
        group: OpenSSL's name of the key exchange group, for example ``X25519MLKEM768``; on a
            resumed TLS 1.2 connection that of the session's first handshake.
        resumed: whether the handshake resumed a session; the client then proved its key in the
            session's first handshake.
        server_name: what the client put into SNI, not checked against anything.
        client_chain: DER certificates as the client offered them, leaf first; empty if it sent
            none. Only this is known: whoever asks holds the leaf's private key. On a resumed
            connection it is what the session's first handshake offered; the intermediates may
            then be missing.
        tls_unique: the first Finished of the handshake (RFC 5929 3.1), 12 octets.
        tls_exporter: the exported keying material of RFC 9266, 32 octets.
        proxied: whether a proxy ended the device's TLS; `client_chain` is then what the proxy says
            (RFC 9440), there is no channel binding, and the rest is the proxy's own connection.
    """

    version: Literal["TLSv1.2", "TLSv1.3"]
    cipher: str
    group: str | None
    resumed: bool
    server_name: str | None
    client_chain: tuple[bytes, ...]
    tls_unique: bytes | None
    tls_exporter: bytes | None
    proxied: bool = False

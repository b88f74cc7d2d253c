"""What is known of a request's TLS connection."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TlsFacts:
    """A connection's facts; certificates are as offered, nothing here is verified but possession.

    Attributes:
        version: ``TLSv1.2`` or ``TLSv1.3``.
        cipher: OpenSSL's name of the cipher suite.
        group: of the key exchange, for example ``X25519MLKEM768``.
        server_name: from the ClientHello (RFC 6066 3).
        client_chain: DER certificates, the client's own first; empty without one. A resumed
            session may have kept the client's own alone.
        tls_unique: RFC 5929 3, on TLS 1.2 only: the first Finished message of the handshake. It
            identifies the connection only under an extended master secret (RFC 7627), which every
            OpenSSL since 1.1 negotiates.
        tls_exporter: RFC 9266, on TLS 1.3 only: 32 octets.
    """

    version: str
    cipher: str
    group: str | None
    server_name: str | None
    client_chain: tuple[bytes, ...]
    tls_unique: bytes | None
    tls_exporter: bytes | None

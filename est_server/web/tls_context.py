"""How the server speaks TLS: versions, ciphers, its certificate, what it asks of a client.

TLS 1.2 is the oldest version (RFC 8996). On it, every suite is ECDHE with an AEAD: all measured
clients have them. Key exchange groups are OpenSSL's own, which put X25519MLKEM768 first: a client
that knows it gets it, at the price of one more round trip where it sent another key share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from OpenSSL import SSL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
_HTTP = b"http/1.1"
_SESSION_SECONDS = 3600
_NO_PATH = -2
"""Depth at which OpenSSL looks for no issuer. The path is built and judged elsewhere; at 0 it would
still check the leaf's signature, and an answer that nobody uses costs each handshake 50 µs. -1 is
OpenSSL's word for its own default (X509_VERIFY_PARAM_set_depth(3))."""
_VERSIONS = {"TLSv1.2": SSL.TLS1_2_VERSION, "TLSv1.3": SSL.TLS1_3_VERSION}


def server_context(
    certificate_chain: Sequence[x509.Certificate],
    private_key: PrivateKeyTypes,
    *,
    request_client_certificate: bool,
    acceptable_issuers: Sequence[x509.Certificate] = (),
    minimum_version: Literal["TLSv1.2", "TLSv1.3"] = "TLSv1.2",
) -> SSL.Context:
    """Return a context for one listener.

    A client certificate is asked for, never demanded, and never judged here: expired, unknown and
    self-signed ones complete the handshake, so that they get an HTTP answer and an audit record.
    That the client holds the key is still OpenSSL's to check (CertificateVerify). A certificate
    that OpenSSL can't parse, or whose key can't sign, ends the handshake with an alert. A chain is
    at most 100 KiB, which is OpenSSL's own limit.

    Sessions resume by ticket alone (RFC 5077, as RFC 7030 3.3 asks): a server-side cache would
    hold what strangers send, up to 20,000 chains of that size. The ticket keys are the context's
    own: a ticket of another one leads to a full handshake.

    Args:
        certificate_chain: the server's certificate, then its intermediates.
        private_key: the key of the first: EC, RSA, Ed25519 or Ed448 (pyOpenSSL takes no ML-DSA
            key yet).
        request_client_certificate: whether to send a CertificateRequest.
        acceptable_issuers: CA certificates whose names are sent as a hint. Some clients send no
            certificate at all when its issuer is not among them; without any, every client sends
            what it has (RFC 5246 7.4.4).
        minimum_version: the oldest protocol version.

    Raises:
        ValueError: no certificate, one or a key that OpenSSL refuses (RSA below 2048 bits), or two
            that do not belong together.
    """
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(_VERSIONS[minimum_version])
    context.set_cipher_list(_CIPHERS)
    context.set_options(
        SSL.OP_CIPHER_SERVER_PREFERENCE | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION
    )
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)  # 34 KiB less for a connection that idles
    context.set_alpn_select_callback(_select_protocol)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"est-server")  # without one, OpenSSL fails where it should resume
    context.set_timeout(_SESSION_SECONDS)
    if request_client_certificate:
        context.set_verify(SSL.VERIFY_PEER, _accept)
        context.set_verify_depth(_NO_PATH)
        for issuer in acceptable_issuers:
            context.add_client_ca(issuer)
    try:
        certificate, *intermediates = certificate_chain
        context.use_certificate(certificate)
        context.use_privatekey(private_key)  # type: ignore[arg-type]  # it refuses the others
        context.check_privatekey()  # a key of another type goes into another slot, unnoticed
        for intermediate in intermediates:
            context.add_extra_chain_cert(intermediate)
    except (SSL.Error, TypeError) as error:
        raise ValueError(f"TLS can't use this certificate and key: {error}") from error
    return context


def _accept(*_: object) -> bool:
    return True


def _select_protocol(
    _: SSL.Connection, offered: list[bytes]
) -> bytes | SSL._NoOverlappingProtocols:
    return _HTTP if _HTTP in offered else SSL.NO_OVERLAPPING_PROTOCOLS

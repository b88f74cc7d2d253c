"""What a finished handshake showed: versions, channel bindings, the client's certificates."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Literal, cast

from OpenSSL.crypto import FILETYPE_ASN1, dump_certificate

from est_server.ports.tls import TlsFacts
from est_server.web.tls_openssl import extended_master_secret, session_reused

if TYPE_CHECKING:
    from OpenSSL import SSL

_EXPORTER_LABEL = b"EXPORTER-Channel-Binding"
_EXPORTER_OCTETS = 32
_CHAINS_KEPT = 2048
_LARGEST_CHAIN_KEPT = 16384


class Intermediates:
    """The chains of the leaves that were seen last; at most 32 MiB.

    A ticket carries the client's leaf and not the certificates above it. A chain is remembered
    only after its leaf's holder proved the key, so nobody can put one under another's leaf.
    """

    def __init__(self) -> None:
        self._chains: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def remember(self, leaf: bytes, rest: tuple[bytes, ...]) -> None:
        """Keep what a full handshake offered above `leaf`; all of it DER."""
        self._chains.pop(leaf, None)
        if rest and len(leaf) + sum(map(len, rest)) <= _LARGEST_CHAIN_KEPT:
            self._chains[leaf] = rest
            if len(self._chains) > _CHAINS_KEPT:
                self._chains.popitem(last=False)

    def recall(self, leaf: bytes) -> tuple[bytes, ...]:
        """Return what was offered above `leaf`, as far as it is known."""
        return self._chains.get(leaf, ())


def read_facts(connection: SSL.Connection, intermediates: Intermediates) -> TlsFacts:
    """Return the facts of a server's connection whose handshake is complete."""
    version = cast('Literal["TLSv1.2", "TLSv1.3"]', connection.get_protocol_version_name())
    resumed = session_reused(connection)
    name = connection.get_servername()
    tls_unique = tls_exporter = None
    if version == "TLSv1.3":
        tls_exporter = connection.export_keying_material(_EXPORTER_LABEL, _EXPORTER_OCTETS, b"")
    elif extended_master_secret(connection):
        # RFC 5929 3.1: a full handshake's first Finished is the client's, a resumed one's ours
        tls_unique = connection.get_finished() if resumed else connection.get_peer_finished()
    return TlsFacts(
        version=version,
        cipher=connection.get_cipher_name() or "",
        group=connection.get_group_name(),
        resumed=resumed,
        server_name=None if name is None else name.decode("ascii", "backslashreplace"),
        client_chain=_client_chain(connection, intermediates, resumed=resumed),
        tls_unique=tls_unique,
        tls_exporter=tls_exporter,
    )


def _client_chain(
    connection: SSL.Connection, intermediates: Intermediates, *, resumed: bool
) -> tuple[bytes, ...]:
    certificate = connection.get_peer_certificate()
    if certificate is None:
        return ()
    leaf = dump_certificate(FILETYPE_ASN1, certificate)
    if resumed:
        return (leaf, *intermediates.recall(leaf))
    # a server's list is without the leaf (SSL_get_peer_cert_chain(3))
    above = connection.get_peer_cert_chain() or ()
    rest = tuple(dump_certificate(FILETYPE_ASN1, certificate) for certificate in above)
    intermediates.remember(leaf, rest)
    return (leaf, *rest)

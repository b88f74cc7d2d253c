"""TLS-terminating proxies in front of the EST listener (RFC 9440).

What a configured proxy says of its client's certificate is believed, what anybody else says is not
there. The channel bindings of the proxy's connection to us say nothing about the device's own to
the proxy, so there are none: a profile that requires one can't be served that way (RFC 7030 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

from est_server.errors import Denied
from est_server.wire.client_cert import read_client_chain

if TYPE_CHECKING:
    from aiohttp import web

    from est_server.ports.tls import TlsFacts

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Proxies:
    """Whom to believe.

    Attributes:
        networks: where the proxies connect from.
        only: whether nobody else may connect.
    """

    networks: tuple[Network, ...] = ()
    only: bool = False

    def asker_facts(self, request: web.BaseRequest, facts: TlsFacts) -> TlsFacts:
        """Return the facts of the device's own connection, as far as they are known.

        Args:
            request: for its peer and its header fields.
            facts: of the connection to us.

        Raises:
            Denied: ``proxy.required``: the peer is no proxy, and nobody else may connect.
            Malformed: ``client-cert.malformed``.
        """
        if not self.networks:
            return facts
        if not self._is_proxy(request.remote):
            if self.only:
                raise Denied("proxy.required", "this server is reached through a proxy only")
            return facts
        fields = request.headers
        chain = read_client_chain(
            fields.getall("Client-Cert", []), fields.getall("Client-Cert-Chain", [])
        )
        # the proxy's own certificate, if it shows one, is nobody's device certificate
        return replace(facts, client_chain=chain, tls_unique=None, tls_exporter=None, proxied=True)

    def _is_proxy(self, peer: str | None) -> bool:
        try:
            address = ip_address((peer or "").partition("%")[0])
        except ValueError:
            return False
        mapped = None if isinstance(address, IPv4Address) else address.ipv4_mapped
        return any((mapped or address) in network for network in self.networks)

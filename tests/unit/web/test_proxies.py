"""Whose Client-Cert is believed, and what is left of a connection behind a proxy."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from est_server.errors import Denied, Malformed
from est_server.ports.tls import TlsFacts
from est_server.web.proxies import Proxies

DIRECT = TlsFacts("TLSv1.2", "", None, False, None, (b"own",), b"unique", None)
SAID = CIMultiDict([("Client-Cert", ":QUI=:"), ("Client-Cert-Chain", ":Qw==:")])


def facts(proxies: Proxies, peer: str | None, headers=SAID) -> TlsFacts:
    request = make_mocked_request("GET", "/", headers=headers).clone(remote=peer)
    return proxies.asker_facts(request, DIRECT)


@pytest.mark.parametrize(
    ("network", "peer"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("fe80::/10", "fe80::1%eth0"),
        ("::1/128", "::1"),
    ],
)
def test_a_proxys_word_replaces_the_connections_facts(network, peer):
    found = facts(Proxies((ip_network(network),)), peer)
    assert found.client_chain == (b"AB", b"C")
    assert (found.tls_unique, found.tls_exporter, found.proxied) == (None, None, True)
    assert found.version == "TLSv1.2"


def test_a_proxys_own_certificate_is_no_devices():
    found = facts(Proxies((ip_network("10.0.0.0/8"),)), "10.0.0.1", CIMultiDict())
    assert found.client_chain == ()


@pytest.mark.parametrize("peer", ["11.0.0.1", "::1", "::ffff:11.0.0.1", "unknown", "", None])
def test_anybody_elses_word_is_not_there(peer):
    assert facts(Proxies((ip_network("10.0.0.0/8"),)), peer) == DIRECT
    assert facts(Proxies(), peer) == DIRECT


def test_anybody_else_is_refused_where_only_proxies_may_connect():
    only = Proxies((ip_network("10.0.0.0/8"),), only=True)
    with pytest.raises(Denied) as refused:
        facts(only, "11.0.0.1")
    assert refused.value.rule == "proxy.required"
    assert facts(only, "10.0.0.1").proxied


def test_a_proxy_that_talks_rubbish_is_told():
    with pytest.raises(Malformed):
        facts(Proxies((ip_network("10.0.0.0/8"),)), "10.0.0.1", CIMultiDict({"Client-Cert": "x"}))

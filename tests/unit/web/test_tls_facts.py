"""The facts against what the peer itself knows of the connection."""

import asyncio
import json
import re
import socket
import ssl
import subprocess

import pytest
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from tls_peers import BOTH, V12, V13, ask, client_context, connected, get_facts, issue, serving

from est_server.web import tls_facts

OP_NO_EXTENDED_MASTER_SECRET = 1  # SSL_OP_BIT(0); the ssl module has no name for it
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("version", BOTH)
async def test_version_cipher_and_name(version):
    def peer(port):
        with connected(port, client_context(BOTH[version])) as tls:
            return get_facts(tls), tls.cipher()[0]

    async with serving() as served:
        facts, cipher = await asyncio.to_thread(peer, served.port)
    assert facts["version"] == version
    assert facts["cipher"] == cipher
    assert facts["group"] == "x25519"
    assert facts["server_name"] == "localhost"
    assert facts["resumed"] is False
    assert facts["client_chain"] == []


async def test_a_client_without_a_name():
    async with serving() as served:
        facts = await asyncio.to_thread(ask, served.port, client_context(), server_hostname=None)
    assert facts["server_name"] is None


def _twice(port, client):
    """Connect, connect again with the session; return what both ends say of each."""
    said = []
    session = None
    for _ in range(2):
        with connected(port, client, session=session) as tls:
            facts = get_facts(tls)
            said.append((facts, tls.session_reused, tls.get_channel_binding("tls-unique").hex()))
            session = tls.session
    return said


async def test_tls_unique_is_the_first_finished_on_a_full_and_on_a_resumed_handshake():
    async with serving() as served:
        full, resumed = await asyncio.to_thread(_twice, served.port, client_context(V12))
    for (facts, reused, binding), expected in ((full, False), (resumed, True)):
        assert reused is expected
        assert facts["resumed"] is expected
        assert facts["tls_unique"] == binding
        assert len(binding) == 24
        assert facts["tls_exporter"] is None
    assert full[0]["tls_unique"] != resumed[0]["tls_unique"]


async def test_tls_13_has_no_tls_unique_and_a_new_exporter_on_each_connection():
    async with serving() as served:
        full, resumed = await asyncio.to_thread(_twice, served.port, client_context(V13))
    assert [said[1] for said in (full, resumed)] == [False, True]
    assert [said[0]["resumed"] for said in (full, resumed)] == [False, True]
    assert [said[0]["tls_unique"] for said in (full, resumed)] == [None, None]
    assert full[0]["tls_exporter"] != resumed[0]["tls_exporter"]


async def test_no_tls_unique_without_the_extended_master_secret():
    client = client_context(V12)
    client.options |= OP_NO_EXTENDED_MASTER_SECRET
    async with serving() as served:
        full, resumed = await asyncio.to_thread(_twice, served.port, client)
    assert [said[1] for said in (full, resumed)] == [False, True]
    for facts, _, binding in (full, resumed):
        assert binding
        assert facts["tls_unique"] is None
        assert facts["tls_exporter"] is None


def _s_client(port, *arguments):
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-ign_eof", *arguments],
        input=REQUEST,
        capture_output=True,
        timeout=30,
        check=False,
    )
    said = done.stdout.decode()
    body = re.search(r"^\{.*?\}", said, re.MULTILINE)
    assert body, said + done.stderr.decode()
    return said, json.loads(body[0])


async def test_the_exporter_is_the_one_that_openssl_exports():
    wanted = ("-keymatexport", "EXPORTER-Channel-Binding", "-keymatexportlen", "32")
    async with serving() as served:
        said, facts = await asyncio.to_thread(_s_client, served.port, "-tls1_3", *wanted)
    shown = re.search(r"Keying material: ([0-9A-F]{64})\b", said)
    assert facts["tls_exporter"] == shown[1].lower()


@pytest.mark.parametrize("option", ["-tls1_2", "-tls1_3"])
async def test_openssl_resumes(option, tmp_path):
    session = str(tmp_path / "session")
    async with serving() as served:
        _, first = await asyncio.to_thread(_s_client, served.port, option, "-sess_out", session)
        said, second = await asyncio.to_thread(_s_client, served.port, option, "-sess_in", session)
    assert "Reused, TLS" in said
    assert [first["resumed"], second["resumed"]] == [False, True]


@pytest.mark.parametrize("version", BOTH)
async def test_the_whole_client_chain_is_known_on_a_resumed_connection(version, tmp_path):
    root = issue("root", ca=True)
    middle = issue("middle", root, ca=True)
    device = issue("device", middle, above=(middle.certificate, root.certificate))
    client = client_context(BOTH[version], device.pem(tmp_path))
    async with serving() as served:
        full, resumed = await asyncio.to_thread(_twice, served.port, client)
    assert [said[1] for said in (full, resumed)] == [False, True]
    expected = [der.hex() for der in device.ders]
    assert full[0]["client_chain"] == expected
    assert resumed[0]["client_chain"] == expected


async def test_a_forgotten_chain_leaves_the_leaf(tmp_path):
    root = issue("root", ca=True)
    device = issue("device", root, above=(root.certificate,))
    client = client_context(V12, device.pem(tmp_path))
    async with serving() as served:

        def peer():
            with connected(served.port, client) as tls:
                get_facts(tls)
                session = tls.session
            served.tls._intermediates._chains.clear()
            return ask(served.port, client, session=session)

        facts = await asyncio.to_thread(peer)
    assert facts["resumed"] is True
    assert facts["client_chain"] == [device.ders[0].hex()]


def test_the_memory_of_chains_is_bounded():
    kept = tls_facts.Intermediates()
    for number in range(tls_facts._CHAINS_KEPT + 2):
        kept.remember(b"leaf %d" % number, (b"above",))
    kept.remember(b"large", (bytes(tls_facts._LARGEST_CHAIN_KEPT),))
    assert len(kept._chains) == tls_facts._CHAINS_KEPT
    assert [kept.recall(b"leaf %d" % n) for n in (1, 2)] == [(), (b"above",)]
    assert kept.recall(b"large") == ()


async def test_no_session_is_kept_for_a_client_without_tickets():
    client = client_context(V12)
    client.options |= ssl.OP_NO_TICKET

    def peer(port):
        with connected(port, client) as tls:
            get_facts(tls)
            session = tls.session
            tls.unwrap()  # OpenSSL forgets by itself what was not closed properly
        return ask(port, client, session=session)

    async with serving() as served:
        facts = await asyncio.to_thread(peer, served.port)
    assert facts["resumed"] is False


def _group_with_openssl_4(port, groups):
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if groups is not None:
        assert Binding().lib.SSL_CTX_set1_curves_list(context._context, groups) == 1
    with socket.create_connection(("127.0.0.1", port), 10) as plain:
        plain.setblocking(True)
        peer = SSL.Connection(context, plain)
        peer.set_connect_state()
        peer.do_handshake()
        peer.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        body = b""
        while not body.endswith(b"}"):
            body += peer.recv(65536)
        facts = json.loads(body.partition(b"\r\n\r\n")[2])
        return facts["group"], peer.get_group_name(), facts["tls_exporter"], peer


@pytest.mark.parametrize(
    ("groups", "negotiated"),
    [
        (None, "X25519MLKEM768"),
        (b"X25519:X25519MLKEM768", "X25519MLKEM768"),  # its key share is the wrong one: retried
        (b"X25519", "x25519"),
        (b"P-256", "secp256r1"),
        (b"P-384", "secp384r1"),
    ],
)
async def test_groups(groups, negotiated):
    async with serving() as served:
        ours, theirs, exporter, peer = await asyncio.to_thread(
            _group_with_openssl_4, served.port, groups
        )
    assert ours == theirs == negotiated
    expected = peer.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
    assert exporter == expected.hex()

"""Connections as asyncio and aiohttp drive them: data, closing, failing."""

import asyncio
import contextlib
import socket
import ssl
import struct
import subprocess
import warnings

import pytest
from aiohttp import web
from cryptography.hazmat.bindings.openssl.binding import Binding
from OpenSSL import SSL
from tls_peers import (
    BOTH,
    V12,
    V13,
    ask,
    client_context,
    connected,
    context,
    get_facts,
    issue,
    read_body,
    serving,
)

from est_server.web.tls import ServerTls

MEGABYTE = bytes(range(256)) * 4096


def _post(tls, body):
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    tls.sendall(head.encode() + body)
    return read_body(tls)


@pytest.mark.parametrize("version", BOTH)
async def test_large_bodies_both_ways_on_one_connection(version):
    def peer(port):
        with connected(port, client_context(BOTH[version])) as tls:
            return [_post(tls, body) for body in (MEGABYTE, b"x", MEGABYTE[::-1])]

    async with serving() as served:
        echoed = await asyncio.to_thread(peer, served.port)
    assert echoed == [MEGABYTE, b"x", MEGABYTE[::-1]]


async def test_many_connections_at_once():
    client = client_context()

    async def one(port, number):
        body = b"%d" % number * 1000
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        echoed = await reader.readexactly(len(body))
        writer.close()
        await writer.wait_closed()
        return answer.startswith(b"HTTP/1.1 200") and echoed == body

    async with serving() as served:
        assert all(await asyncio.gather(*(one(served.port, n) for n in range(60))))


async def test_aiohttp_knows_that_it_is_https():
    async def handler(request):
        facts = request.transport.get_extra_info("ssl_object").facts()
        return web.json_response({"scheme": request.scheme, "version": facts.version})

    async with serving(factory=web.Server(handler)) as served:
        said = await asyncio.to_thread(ask, served.port, client_context())
    assert said == {"scheme": "https", "version": "TLSv1.3"}


async def test_tls_11_gets_the_alert_that_says_why():
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        client = client_context(ssl.TLSVersion.TLSv1_1)
    async with serving() as served:
        with pytest.raises(ssl.SSLError, match="alert protocol version"):
            await asyncio.to_thread(ask, served.port, client)


async def test_tls_12_can_be_switched_off():
    async with serving(ServerTls(context(minimum_version="TLSv1.3"))) as served:
        with pytest.raises(ssl.SSLError, match="alert protocol version"):
            await asyncio.to_thread(ask, served.port, client_context(V12))
        await asyncio.to_thread(ask, served.port, client_context(V13))


@pytest.mark.parametrize(
    "ciphers", ["aNULL", "eNULL", "kRSA", "ECDHE-ECDSA-AES256-SHA", "ECDHE-ECDSA-AES128-SHA256"]
)
async def test_weak_suites_are_refused(ciphers):
    client = client_context(V12, ciphers=f"{ciphers}:@SECLEVEL=0")
    async with serving() as served:
        with pytest.raises(ssl.SSLError, match="alert handshake failure"):
            await asyncio.to_thread(ask, served.port, client)
        await asyncio.to_thread(
            ask, served.port, client_context(V12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
        )


async def test_the_server_chooses_the_suite():
    client = client_context(
        V12, ciphers="ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384"
    )
    async with serving() as served:
        facts = await asyncio.to_thread(ask, served.port, client)
    assert facts["cipher"] == "ECDHE-ECDSA-AES256-GCM-SHA384"


@pytest.mark.parametrize(
    ("offered", "selected"),
    [(["h2", "http/1.1"], "http/1.1"), (["http/1.1"], "http/1.1"), (["h2"], None), ([], None)],
)
async def test_alpn_is_http_11_or_nothing(offered, selected):
    client = client_context()
    if offered:
        client.set_alpn_protocols(offered)

    def peer(port):
        with connected(port, client) as tls:
            get_facts(tls)
            return tls.selected_alpn_protocol()

    async with serving() as served:
        assert await asyncio.to_thread(peer, served.port) == selected


async def test_renegotiation_is_refused():
    def peer(port):
        client = SSL.Context(SSL.TLS_CLIENT_METHOD)
        client.set_max_proto_version(SSL.TLS1_2_VERSION)
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            plain.setblocking(True)
            tls = SSL.Connection(client, plain)
            tls.set_connect_state()
            tls.do_handshake()
            assert tls.renegotiate()
            with pytest.raises(SSL.Error, match="no renegotiation"):
                tls.do_handshake()

    async with serving() as served:
        await asyncio.to_thread(peer, served.port)
        await asyncio.to_thread(ask, served.port, client_context())


async def test_openssl_cannot_renegotiate_either():
    async with serving() as served:
        done = await asyncio.to_thread(
            subprocess.run,
            ["openssl", "s_client", "-connect", f"127.0.0.1:{served.port}", "-tls1_2"],
            input=b"R\n",
            capture_output=True,
            timeout=30,
            check=False,
        )
    assert b"no renegotiation" in done.stderr


def _reset(plain):
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    plain.close()


def _hello():
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("leave", ["close", "half-close", "reset"])
@pytest.mark.parametrize("stage", ["nothing", "half a hello", "hello", "handshake", "request"])
async def test_a_client_that_leaves_is_no_exception(stage, leave):
    def peer(port):
        plain = socket.create_connection(("127.0.0.1", port), 10)
        with contextlib.closing(plain):
            if stage in {"half a hello", "hello"}:
                hello = _hello()
                plain.sendall(hello if stage == "hello" else hello[: len(hello) // 2])
                if stage == "hello":
                    plain.recv(100)
            if stage in {"handshake", "request"}:
                tls = client_context().wrap_socket(plain, suppress_ragged_eofs=False)
                if stage == "request":
                    tls.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\nhalf")
                plain = tls
            with contextlib.closing(plain):
                if leave == "reset":
                    _reset(plain)
                elif leave == "half-close":
                    plain.shutdown(socket.SHUT_WR)
                    try:
                        while plain.recv(65536):
                            pass
                    except OSError:
                        return

    async with serving() as served:
        await asyncio.to_thread(peer, served.port)
        await asyncio.to_thread(ask, served.port, client_context())


class _AnswerAndClose(asyncio.Protocol):
    """Answers as soon as it is connected and closes, whatever the client still has to say."""

    answer = MEGABYTE * 4

    def connection_made(self, transport):
        transport.write(self.answer)
        transport.close()


@pytest.mark.parametrize("version", BOTH)
async def test_a_slow_reader_gets_all_of_an_answer_that_ends_with_a_close(version):
    def peer(port):
        received = bytearray()
        with connected(port, client_context(BOTH[version])) as tls:
            while piece := tls.recv(1 << 20):
                received += piece
        return received

    async with serving(factory=_AnswerAndClose) as served:
        assert await asyncio.to_thread(peer, served.port) == _AnswerAndClose.answer


@pytest.mark.parametrize("version", BOTH)
async def test_an_answer_survives_a_client_that_is_still_sending(version):
    class Short(_AnswerAndClose):
        answer = b"413"

    def peer(port):
        with connected(port, client_context(BOTH[version])) as tls:
            for _ in range(8):
                tls.sendall(MEGABYTE)
            received = tls.recv(100)
            assert tls.recv(100) == b""
            return received

    async with serving(factory=Short) as served:
        assert await asyncio.to_thread(peer, served.port) == b"413"


async def test_silence_instead_of_a_handshake_is_dropped():
    def peer(port):
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            try:
                return plain.recv(1)
            except ConnectionResetError:
                return b""

    async with serving(handshake_seconds=0.1) as served:
        assert await asyncio.to_thread(peer, served.port) == b""


async def test_a_goodbye_that_is_not_returned_is_not_waited_for():
    def peer(port):
        with connected(port, client_context()) as tls:
            assert tls.recv(100) == b"413"
            raw = socket.socket(fileno=tls.detach())
            with raw:
                raw.settimeout(10)
                while raw.recv(65536):
                    pass

    class Short(_AnswerAndClose):
        answer = b"413"

    async with serving(factory=Short, shutdown_seconds=0.1) as served:
        await asyncio.to_thread(peer, served.port)


async def test_errors_that_others_left_in_openssl_do_not_end_a_connection():
    library = Binding().lib

    class Careless(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)
            library.ERR_put_error(6, 0, 100, b"elsewhere.c", 1)

    def peer(port):
        with connected(port, client_context()) as tls:
            said = []
            for word in (b"one", b"two", b"three"):
                tls.sendall(word)
                said.append(tls.recv(100))
            return said

    async with serving(factory=Careless) as served:
        assert await asyncio.to_thread(peer, served.port) == [b"one", b"two", b"three"]
    assert library.ERR_peek_error() == 0


async def test_another_certificate_leaves_open_connections_alone():
    old, new = issue("old"), issue("new")
    client = client_context(V12)
    async with serving(ServerTls(context(old))) as served:

        def peer():
            with connected(served.port, client) as before:
                assert before.getpeercert(binary_form=True) == old.ders[0]
                get_facts(before)
                served.tls.replace(context(new))
                with connected(served.port, client, session=before.session) as after:
                    assert after.getpeercert(binary_form=True) == new.ders[0]
                    assert get_facts(after)["resumed"] is False
                assert get_facts(before)["resumed"] is False

        await asyncio.to_thread(peer)

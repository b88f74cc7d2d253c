"""A listener that stops answers whoever has connected."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.app.listening import ALONE, SHARED, Listening
from est_server.app.sockets import address_of, bind
from est_server.config.server import Listeners
from est_server.errors import BackendUnavailable
from est_server.pki.authority import make_root, make_server_certificate
from est_server.pki.keys import generate_key
from est_server.web.http import HttpLimits
from est_server.web.tls import ServerTls
from est_server.web.tls_context import server_context

LIMITS = HttpLimits(65536, 10, 10)
WITHIN = 30
SOON = 0.1
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
PUBLIC = {"listen": "127.0.0.1:0", "url": "http://localhost"}


async def answer(_request):
    return web.Response(text="answer")


@pytest.fixture(scope="module")
def tls():
    now = datetime.now(UTC)  # noqa: TID251 - clients live today
    root = make_root("root", "EC-P256", lifetime=timedelta(days=9), now=now)
    key = generate_key("EC-P256")
    names = ["localhost", str(ip_address("127.0.0.1"))]
    leaf = make_server_certificate(
        root, names, key.public_key(), lifetime=timedelta(days=1), now=now
    )
    trust = ssl.create_default_context(cadata=root.certificate.public_bytes(Encoding.PEM).decode())
    context = server_context((leaf,), key, request_client_certificate=False)
    return ServerTls(context), trust


def listening(tls=None, at_once=ALONE):
    made = Listening(bind(Listeners(public=PUBLIC), ["public"]), LIMITS, at_once)
    address = address_of(made.sockets["public"])
    made.serve("public", answer, None if tls is None else (tls, WITHIN))
    host, port = address.rsplit(":", 1)
    return made, (host, int(port))


async def asked(reader, writer):
    async with asyncio.timeout(WITHIN):
        writer.write(GET)
        whole = await reader.read()
    writer.close()
    return whole


async def is_waited_for(stopping):
    done, _ = await asyncio.wait({stopping}, timeout=SOON)
    return not done


@pytest.mark.parametrize("at_once", [ALONE, SHARED])
async def test_what_waits_in_the_queue_is_answered(at_once):
    made, address = listening(at_once=at_once)
    sockets = [asyncio.open_connection(*address) for _ in range(5)]
    waiting = asyncio.gather(*sockets)
    while not waiting.done():  # the kernel connects them; this loop accepts none of them before
        for one in made.sockets["public"]:
            asyncio.get_running_loop().remove_reader(one)
        await asyncio.sleep(0)
    stopping = asyncio.create_task(made.drain(WITHIN))
    answers = await asyncio.gather(*(asked(*one) for one in waiting.result()))
    for whole in answers:
        assert whole.startswith(b"HTTP/1.1 200")
        assert b"connection: close" in whole.lower()
    await stopping
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)


async def test_a_handshake_that_has_not_begun_is_waited_for(tls):
    spoken, trust = tls
    made, address = listening(spoken)
    reader, writer = await asyncio.open_connection(*address)
    while not spoken.connections:  # noqa: ASYNC110 - it is accepted in a moment
        await asyncio.sleep(0)
    stopping = asyncio.create_task(made.drain(WITHIN))
    assert await is_waited_for(stopping)
    await writer.start_tls(trust, server_hostname="localhost")
    assert await is_waited_for(stopping), "its request is still to come"
    assert (await asked(reader, writer)).startswith(b"HTTP/1.1 200")
    await stopping


async def test_an_idle_connection_is_closed_at_once():
    made, address = listening()
    reader, writer = await asyncio.open_connection(*address)
    writer.write(GET)
    await reader.readuntil(b"answer")
    await made.drain(WITHIN)
    assert await reader.read() == b""
    writer.close()


async def test_who_says_nothing_is_cut_off_after_the_grace():
    made, address = listening()
    reader, writer = await asyncio.open_connection(*address)
    stopping = asyncio.create_task(made.drain(SOON))
    assert await reader.read() == b""
    await stopping
    writer.close()


def test_an_address_that_is_taken_is_told():
    taken = bind(Listeners(public=PUBLIC), ["public"])
    address = address_of(taken["public"])
    with pytest.raises(BackendUnavailable, match=r"listener\.address"):
        bind(Listeners(public={**PUBLIC, "listen": address}), ["public"])
    for found in taken.values():
        for one in found:
            one.close()

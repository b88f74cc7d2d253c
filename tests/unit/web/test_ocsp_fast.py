"""The protocol in front of aiohttp, over real connections: what it answers, what it hands over."""

from __future__ import annotations

import asyncio
import base64
import secrets
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509 import ocsp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ocsp_world import World

from est_server.errors import BackendUnavailable
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger
from est_server.web import ocsp_known
from est_server.web.http import HttpLimits, http_server
from est_server.web.ocsp import OcspEndpoint
from est_server.web.ocsp_fast import MOST_WAITING, FastOcsp
from est_server.web.ocsp_known import KnownRequests, plain_body_length
from est_server.web.validation import ValidationEndpoint

LIMITS = HttpLimits(body=65536, body_timeout=5, idle_timeout=30)
GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus
FAST, SLOW = "fast", "slow"


@dataclass
class Response:
    line: str
    fields: dict[str, str]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def certificate(self) -> Any:
        return ocsp.load_der_ocsp_response(self.body).certificate_status


class Peer:
    """One connection, octet by octet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, *octets: bytes) -> None:
        for part in octets:
            self.writer.write(part)

    async def response(self) -> Response:
        async with asyncio.timeout(20):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode()
            line, *lines = head.split("\r\n")[:-2]
            fields = dict(one.lower().split(": ", 1) for one in lines)
            length = int(fields.get("content-length", 0))
            return Response(line, fields, await self.reader.readexactly(length))

    async def end(self) -> bytes:
        """Return what comes until the server closes; a reset is an end too."""
        found = b""
        async with asyncio.timeout(20):
            with suppress(ConnectionError):
                while piece := await self.reader.read(4096):
                    found += piece
        return found


@dataclass
class Site:
    """The public listener of a world."""

    world: World
    known: KnownRequests
    address: tuple[str, int]
    connections: list[str]
    fast: FastOcsp

    @asynccontextmanager
    async def peer(self):
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()

    async def ask(self, *requests: bytes) -> list[Response]:
        async with self.peer() as peer:
            peer.send(*requests)
            return [await peer.response() for _ in requests]


def get(der: bytes, *fields: str, path: str = "/ocsp/", version: str = "1.1") -> bytes:
    text = base64.b64encode(der).decode()
    lines = [f"GET {path}{text} HTTP/{version}", "Host: x", *fields, "", ""]
    return "\r\n".join(lines).encode()


def post(body: bytes, *fields: str, path: str = "/ocsp", version: str = "1.1") -> bytes:
    lines = [
        f"POST {path} HTTP/{version}",
        "Host: x",
        "Content-Type: application/ocsp-request",
        f"Content-Length: {len(body)}",
        *fields,
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def serving(tmp_path, limits: HttpLimits = LIMITS):
    path = tmp_path / f"{secrets.token_hex(4)}.db"
    upgrade_schema(path)
    world = World(SqliteLedger(path))
    world.add_ca()
    await world.follower.look()
    endpoint = OcspEndpoint(world.service, limits, lambda: world.time.now)
    others = http_server(
        ValidationEndpoint({"issuing": b"cer"}, None, endpoint, None).handle, limits
    )
    connections: list[str] = []

    def handed_over():
        connections.append(SLOW)
        return others()

    known = KnownRequests(endpoint, world.lease)
    loop = asyncio.get_running_loop()
    fast = FastOcsp(known, handed_over, limits.idle_timeout)
    listener = await loop.create_server(fast, "127.0.0.1", 0)
    try:
        yield Site(world, known, listener.sockets[0].getsockname(), connections, fast)
    finally:
        listener.close()
        fast.drain()
        await others.shutdown(1)
        await world.ledger.close()


@pytest.fixture
async def site(tmp_path):
    async with serving(tmp_path) as found:
        yield found


# -- what it answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [get, post])
async def test_the_second_time_the_ledger_is_not_asked(site, monkeypatch, ask):
    request = ask(site.world.request(await site.world.certificate()))
    [first] = await site.ask(request)
    monkeypatch.setattr(SqliteLedger, "certificate", None)
    [second] = await site.ask(request)
    assert (first.status, first.certificate) == (200, GOOD)
    assert (second.body, second.fields) == (first.body, first.fields)
    assert second.fields["content-type"] == "application/ocsp-response"
    assert site.connections == []
    assert site.known.served == {"good": 1}


async def test_both_ways_give_the_same_header_fields(site):
    der = site.world.request(await site.world.certificate())
    [fast] = await site.ask(get(der))
    [slow] = await site.ask(get(der, "If-None-Match: x"))
    assert site.connections == [SLOW]
    assert slow.body == fast.body
    assert {**slow.fields, "content-length": fast.fields["content-length"]} == fast.fields


async def test_each_second_has_its_own_date(site):
    request = get(site.world.request(await site.world.certificate()))
    await site.ask(request)
    [one] = await site.ask(request)
    site.world.time.pass_(0.5)
    [two] = await site.ask(request)
    site.world.time.pass_(0.6)
    await site.world.follower.look()
    [three] = await site.ask(request)
    assert one.fields == two.fields
    assert one.fields["date"] != three.fields["date"]
    assert three.fields["cache-control"].startswith("max-age=3599")


async def test_many_requests_in_one_segment_are_answered_in_order(site):
    serials = [await site.world.certificate() for _ in range(3)]
    await site.world.revoke(serials[1])
    await site.world.follower.look()
    ders = [site.world.request(serial) for serial in serials]
    requests = [get(ders[0]), post(ders[1]), get(ders[2]), post(ders[0])] * 50
    async with site.peer() as peer:
        peer.send(b"".join(requests))
        found = [await peer.response() for _ in requests]
    numbers = [ocsp.load_der_ocsp_response(one.body).serial_number for one in found]
    assert numbers == [serials[0], serials[1], serials[2], serials[0]] * 50
    assert [one.certificate for one in found[:4]] == [GOOD, REVOKED, GOOD, GOOD]
    assert site.connections == []


@pytest.mark.parametrize("ask", [get, post])
async def test_a_request_may_come_in_pieces(site, ask):
    request = ask(site.world.request(await site.world.certificate()))
    async with site.peer() as peer:
        for _ in range(2):
            for at in range(len(request)):
                peer.send(request[at : at + 1])
                await peer.writer.drain()
                if at % 16 == 0:
                    await asyncio.sleep(0)
            assert (await peer.response()).certificate is GOOD
    assert site.connections == []


async def test_the_answer_to_what_is_no_request_is_one_too(site):
    [a, b] = await site.ask(get(b"\x30\x00"), post(b"\x30\x00"))
    for found in (a, b):
        assert (found.status, found.body) == (200, b"\x30\x03\x0a\x01\x01")
        assert found.fields["cache-control"] == "no-store"
    assert site.known.known == {}
    assert site.connections == []


async def test_a_nonce_is_never_answered_from_memory(site):
    der = site.world.request(await site.world.certificate(), nonce=x509.OCSPNonce(b"n" * 32))
    found = await site.ask(post(der), post(der))
    assert [one.fields["cache-control"] for one in found] == ["no-store"] * 2
    assert site.known.known == {}


async def test_unknown_numbers_fill_no_memory(site):
    requests = [post(site.world.request(serial)) for serial in range(1, 20)]
    assert {one.certificate for one in await site.ask(*requests)} == {UNKNOWN}
    assert (site.known.known, len(site.world.cas["issuing"].memory)) == ({}, 0)


async def test_known_requests_are_bounded(site, monkeypatch):
    monkeypatch.setattr(ocsp_known, "MOST_KNOWN", 5)
    for _ in range(8):
        await site.ask(post(site.world.request(await site.world.certificate())))
    assert len(site.known.known) == 5
    monkeypatch.setattr(ocsp_known, "MOST_HEADS", 3)
    der = site.world.request(await site.world.certificate())
    for number in range(8):
        await site.ask(post(der, f"X-Number: {number}"))
    assert len(site.known.heads) <= 3


# -- when memory is not believed ---------------------------------------------------------------


async def test_a_revocation_is_told_when_its_event_was_read(site):
    serial = await site.world.certificate()
    request = get(site.world.request(serial))
    assert [one.certificate for one in await site.ask(request, request)] == [GOOD, GOOD]
    await site.world.revoke(serial)
    await site.world.follower.look()
    assert [one.certificate for one in await site.ask(request, request)] == [REVOKED, REVOKED]
    assert site.known.served == {"good": 1, "revoked": 1}


async def test_without_the_follower_the_ledger_is_asked(site):
    """The look that would empty memory never comes."""
    serial = await site.world.certificate()
    request = get(site.world.request(serial))
    await site.ask(request)
    await site.world.revoke(serial)
    site.world.time.pass_(0.69)
    [within] = await site.ask(request)
    site.world.time.pass_(0.02)
    [after] = await site.ask(request)
    assert (within.certificate, after.certificate) == (GOOD, REVOKED)


async def test_a_clock_that_was_set_is_not_believed(site):
    serial = await site.world.certificate()
    request = get(site.world.request(serial))
    await site.ask(request)
    await site.world.revoke(serial)
    for jump in (-3600, 7200):
        site.world.time.now += type(site.world.time.now).resolution * jump * 10**6
        [found] = await site.ask(request)
        assert found.certificate is REVOKED


async def test_with_neither_follower_nor_ledger_nobody_is_told_good(site, monkeypatch):
    request = get(site.world.request(await site.world.certificate()))
    await site.ask(request)

    async def away(*_, **__):
        raise BackendUnavailable("ledger.unavailable", "away")

    monkeypatch.setattr(SqliteLedger, "certificate", away)
    site.world.time.pass_(1)
    [found] = await site.ask(request)
    assert found.body == b"\x30\x03\x0a\x01\x03"
    assert found.fields["cache-control"] == "no-store"


async def test_an_old_answer_is_not_given_even_if_nobody_signs_again(site):
    request = get(site.world.request(await site.world.certificate()))
    [first] = await site.ask(request)
    site.world.time.pass_(1790)
    await site.world.follower.look()
    [still] = await site.ask(request)
    site.world.time.pass_(20)
    await site.world.follower.look()
    [fresh] = await site.ask(request)
    assert still.body == first.body
    assert fresh.body != first.body


async def test_an_answer_signed_again_is_given_at_once(site):
    request = get(site.world.request(await site.world.certificate()))
    await site.ask(request, request)
    site.world.time.pass_(1300)
    await site.world.follower.look()
    await site.world.service.refresh(1.0)
    served = dict(site.known.served)
    [found] = await site.ask(request)
    assert ocsp.load_der_ocsp_response(found.body).this_update_utc == site.world.time.now
    assert site.known.served["good"] == served["good"] + 1


# -- what it hands over ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        (b"GET /aia/issuing.cer HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404),
        (b"PUT /ocsp HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /ocsp HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /ocsp/a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET /ocsp/\xff HTTP/1.1\r\nHost: x\r\n\r\n", None),
        (b"nonsense\r\n\r\n", 400),
        (b"\r\n\r\nnonsense\r\n\r\n", 400),
        (b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 200),
        (b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n", 413),
        (b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /ocsp HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n/ocsp", 200),
        (b"GET /ocsp/MA== HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000, 400),
    ],
    ids=range(15),
)  # fmt: skip
async def test_everything_else_is_aiohttps(site, octets, status):
    async with site.peer() as peer:
        peer.send(octets)
        found = await peer.response()
        assert status is None or found.status == status
    assert site.connections == [SLOW]


async def test_the_connection_goes_over_in_the_middle(site):
    der = site.world.request(await site.world.certificate())
    aia = b"GET /aia/issuing.cer HTTP/1.1\r\nHost: x\r\n\r\n"
    async with site.peer() as peer:
        peer.send(get(der) + get(der) + aia + get(der) + aia)
        found = [await peer.response() for _ in range(5)]
    assert [one.body == b"cer" for one in found] == [False, False, True, False, True]
    assert [one.certificate for one in (found[0], found[1], found[3])] == [GOOD] * 3
    assert site.connections == [SLOW]


async def test_expect_and_chunks_are_aiohttps(site):
    der = site.world.request(await site.world.certificate())
    chunked = (
        b"POST /ocsp HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        + f"{len(der):x}\r\n".encode() + der + b"\r\n0\r\n\r\n"
    )  # fmt: skip
    [found] = await site.ask(chunked)
    assert found.certificate is GOOD
    async with site.peer() as peer:
        head, _, _ = post(der, "Expect: 100-continue").partition(b"\r\n\r\n")
        peer.send(head + b"\r\n\r\n")
        assert (await peer.response()).status == 100
        peer.send(der)
        assert (await peer.response()).certificate is GOOD


@pytest.mark.parametrize(
    ("fields", "version", "closes"),
    [
        ([], "1.1", False),
        (["Connection: keep-alive"], "1.1", False),
        (["Connection: close"], "1.1", True),
        ([], "1.0", True),
        (["Connection: keep-alive"], "1.0", False),
    ],
)
async def test_connections_stay_or_close_as_asked(site, fields, version, closes):
    der = site.world.request(await site.world.certificate())
    async with site.peer() as peer:
        for _ in range(1 if closes else 3):
            peer.send(get(der, *fields, version=version))
            found = await peer.response()
            assert found.certificate is GOOD
        if closes:
            assert await peer.end() == b""
        if version == "1.0" and not closes:
            assert found.fields["connection"] == "keep-alive"


async def test_a_304_and_a_head(site):
    der = site.world.request(await site.world.certificate())
    [first] = await site.ask(get(der))
    [same] = await site.ask(get(der, f"If-None-Match: {first.fields['etag']}"))
    assert (same.status, same.body) == (304, b"")
    assert same.fields["etag"] == first.fields["etag"]
    async with site.peer() as peer:
        peer.send(get(der).replace(b"GET", b"HEAD", 1) + get(der))
        head = (await peer.reader.readuntil(b"\r\n\r\n")).decode()
        assert "Content-Length: " + first.fields["content-length"] in head
        assert (await peer.response()).certificate is GOOD


# -- bounds ------------------------------------------------------------------------------------


async def test_idle_and_trickling_clients_are_let_go(tmp_path):
    async with serving(tmp_path, HttpLimits(body=65536, body_timeout=5, idle_timeout=0.3)) as site:
        request = get(site.world.request(await site.world.certificate()))
        async with site.peer() as silent, site.peer() as trickling, site.peer() as busy:
            started = asyncio.get_running_loop().time()
            ends = asyncio.gather(silent.end(), trickling.end())
            while not ends.done():
                trickling.send(request[:1])
                busy.send(request)
                assert (await busy.response()).certificate is GOOD
                await asyncio.sleep(0.02)
                assert asyncio.get_running_loop().time() < started + 20
            assert await ends == [b"", b""]
            busy.send(request)
            assert (await busy.response()).certificate is GOOD


async def test_a_client_that_does_not_read_is_not_answered_ahead(tmp_path):
    """What waits to be sent is bounded, and with it how old an answer can be when it is read."""
    async with serving(tmp_path, HttpLimits(body=65536, body_timeout=5, idle_timeout=1)) as site:
        serial = await site.world.certificate()
        request = get(site.world.request(serial))
        await site.ask(request, request)
        async with site.peer() as peer:
            most = 40_000
            sending = asyncio.create_task(_flood(peer, request, most))
            before = -1
            while before != site.known.served["good"]:
                before = site.known.served["good"]
                await asyncio.sleep(0.1)
            assert before < most / 2
            await site.world.revoke(serial)
            site.world.time.pass_(2)
            await site.world.follower.look()
            for _ in range(before + 100):
                found = await peer.response()
            assert found.certificate is REVOKED
            sending.cancel()


async def _flood(peer: Peer, request: bytes, most: int) -> None:
    for _ in range(most):
        peer.send(request)
        await peer.writer.drain()


async def test_a_client_that_never_reads_is_let_go(tmp_path):
    async with serving(tmp_path, HttpLimits(body=65536, body_timeout=5, idle_timeout=0.3)) as site:
        request = get(site.world.request(await site.world.certificate()))
        await site.ask(request, request)
        async with site.peer() as peer:
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(20):
                    await _flood(peer, request, 10**9)


async def test_requests_sent_ahead_are_bounded_while_one_is_answered(site, monkeypatch):
    serial = await site.world.certificate()
    request = get(site.world.request(serial))
    free, read = asyncio.Event(), SqliteLedger.certificate

    async def slow(*arguments):
        await free.wait()
        return await read(*arguments)

    monkeypatch.setattr(SqliteLedger, "certificate", slow)
    async with site.peer() as peer:
        flood = asyncio.create_task(_flood(peer, request, 20_000))
        for _ in range(20):
            await asyncio.sleep(0.02)
            for connection in site.fast.connections:
                assert len(connection._buffer) < MOST_WAITING + 2**18  # one read more
        free.set()
        for _ in range(20_000):
            assert (await peer.response()).certificate is GOOD
        await flood
    assert len(request) * 20_000 > 10 * MOST_WAITING


async def test_a_client_that_is_done_sending_gets_its_answers(site):
    request = post(site.world.request(await site.world.certificate()))
    async with site.peer() as peer:
        peer.send(request, request)
        peer.writer.write_eof()
        assert [(await peer.response()).certificate for _ in range(2)] == [GOOD, GOOD]
        assert await peer.end() == b""


# -- header fields -----------------------------------------------------------------------------

PLAIN = [
    (b"Host: x", 0),
    (b"host:x", 0),
    (b"Host: x\r\nAccept: */*", 0),
    (b"Host: x\r\nConnection: Keep-Alive", 0),
    (b"Host: x\r\nContent-Length: 71", 71),
    (b"CONTENT-LENGTH:  007\r\nHost: x", 7),
]
ODD = [
    b"",
    b"Accept: */*",
    b"Host: x\r\nHost: x",
    b"Host: x\r\n folded: y",
    b"Host: x\r\nA\xff: y",
    b"Host: x\r\nA : y",
    b"Host: x\r\nno colon",
    b"Host: x\r\nA: \xe9",
    b"Host: x\r\nA: \0",
    b"Host: x\nA: y",
    b"Host: x\r\nA: b\rc",
    b"Host: x\r\nContent-Length: 1\r\nContent-Length: 1",
    b"Host: x\r\nContent-Length: +1",
    b"Host: x\r\nContent-Length: 1, 1",
    b"Host: x\r\nContent-Length: 1234567",
    b"Host: x\r\nContent-Length:",
    b"Host: x\r\nTransfer-Encoding: chunked",
    b"Host: x\r\nConnection: close",
    b"Host: x\r\nConnection: upgrade",
    b"Host: x\r\nUpgrade: h2c",
    b"Host: x\r\nExpect: 100-continue",
    b"Host: x\r\nIf-None-Match: x",
    b"Host: x\r\nIf-Modified-Since: x",
    b"Host: x\r\nRange: bytes=0-1",
    b"Host: x" + b"\r\nA: b" * 64,
    b"Host: x\r\nA: " + b"b" * 8190,
]


@pytest.mark.parametrize(("head", "length"), PLAIN)
def test_plain_header_fields(head, length):
    assert plain_body_length(head) == length


@pytest.mark.parametrize("head", ODD)
def test_header_fields_that_aiohttp_had_better_look_at(head):
    assert plain_body_length(head) is None


JUNK = st.binary(max_size=40) | st.sampled_from(
    (b"GET /ocsp/", b" HTTP/1.1\r\n", b"\r\n\r\n", b"Host: x\r\n", b"0\x80",
     b"POST /ocsp HTTP/1.1\r\n", b"Content-Length: 4\r\n", b"HTTP/1.0\r\n\r\n")
)  # fmt: skip


@settings(
    max_examples=30, deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    parts=st.lists(st.sampled_from(("get", "post", "last")) | JUNK, max_size=6),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_any_octets_in_any_pieces_end_in_answers_or_an_end(tmp_path, parts, cuts):
    """Whatever is sent: every response is one, and others are still answered."""

    async def main():
        async with serving(tmp_path, HttpLimits(65536, 1, 1)) as site:
            der = site.world.request(await site.world.certificate())
            good = {"get": get(der), "post": post(der), "last": get(der, "Connection: close")}
            sent = b"".join(good[part] if isinstance(part, str) else part for part in parts)
            at = [0, *(int(cut * len(sent)) for cut in sorted(cuts)), len(sent)]
            async with site.peer() as peer:
                for begin, end in pairwise(at):
                    peer.send(sent[begin:end])
                    await asyncio.sleep(0)
                peer.writer.write_eof()
                answered = await peer.end()
            assert b" 500 " not in answered
            assert answered == b"" or answered.startswith(b"HTTP/")
            [found] = await site.ask(get(der))
            assert found.certificate is GOOD

    asyncio.run(main())

"""The revocation feed over real connections: pages, streams, who comes back, who is too slow."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager, suppress

import pytest
from aiohttp import ClientSession, ClientTimeout
from hypothesis import given
from hypothesis import strategies as st
from ocsp_world import World

from est_server.errors import BackendUnavailable, Malformed
from est_server.ports.revocation import Revocation
from est_server.revocation.feed import Feed
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger
from est_server.web.feed import FeedEndpoint, _number
from est_server.web.http import HttpLimits, http_server
from est_server.wire.event_stream import EventReader

LISTS = {"issuing": {"delta": True, "complete": "interval"}}
PATIENCE = 20.0  # seconds until a test gives up


class Site:
    """A ledger and a listener that serves its feed; turns are the test's own."""

    def __init__(self, world, endpoint, address):
        self.world, self.endpoint, self.address = world, endpoint, address
        self.client = ClientSession(timeout=ClientTimeout(total=PATIENCE))

    @property
    def url(self):
        return "http://{}:{}/revocations".format(*self.address)

    async def revoked(self, count=1, reason="superseded"):
        """Issue and revoke certificates; return their serial numbers in the order of events."""
        serials = [await self.world.certificate() for _ in range(count)]
        orders = [
            Revocation("issuing", one, reason, self.world.time.now, "joe", note="secret")
            for one in serials
        ]
        await self.world.ledger.revocations.revoke(orders)
        return serials

    async def page(self, query="", **headers):
        async with self.client.get(self.url + query, headers=headers) as got:
            return got.status, await got.read(), got.headers

    async def json(self, query=""):
        status, body, _ = await self.page(query)
        assert status == 200, body
        return json.loads(body)

    @asynccontextmanager
    async def stream(self, query="", **headers):
        async with self.client.get(f"{self.url}/stream{query}", headers=headers) as got:
            yield Reading(got)


class Reading:
    """A client's end of a stream."""

    def __init__(self, answer):
        self.answer, self.reader, self.events, self.raw = answer, EventReader(), [], b""

    async def until(self, done):
        async with asyncio.timeout(PATIENCE):
            while not done(self):
                piece = await self.answer.content.readany()
                if not piece:
                    raise EOFError
                self.raw += piece
                self.events += self.reader.take(piece)
        return [json.loads(event.data) for event in self.events]

    async def many(self, count):
        return await self.until(lambda one: len(one.events) >= count)

    async def at(self, position):
        return await self.until(lambda one: one.reader.last_id == str(position))


async def reached(condition):
    async with asyncio.timeout(PATIENCE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(tmp_path, **options):
    upgrade_schema(tmp_path / "feed.db")
    world = World(SqliteLedger(tmp_path / "feed.db"))
    settings = {"most_streams": 4, **options}
    endpoint = FeedEndpoint(Feed(world.ledger.revocations), lambda: LISTS, **settings)
    server = http_server(endpoint.handle, HttpLimits(65536, 5, 30))
    listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16384)
    site = Site(world, endpoint, listener.sockets[0].getsockname())
    try:
        await endpoint.turn()
        yield site
    finally:
        await site.client.close()
        listener.close()
        endpoint.close()
        await server.shutdown(1)
        await world.ledger.close()


@pytest.fixture
async def site(tmp_path):
    async with serving(tmp_path) as found:
        yield found


# -- pages -----------------------------------------------------------------------------------------


async def test_pages_follow_each_other_without_a_gap(site):
    serials = await site.revoked(5)
    found, since, more = [], 0, True
    while more:
        page = await site.json(f"?since={since}&limit=2")
        found += page["events"]
        since, more = page["next"], page["more"]
    assert [one["serial"] for one in found] == [f"{serial:x}" for serial in serials]
    assert [one["sequence"] for one in found] == [1, 2, 3, 4, 5]
    assert await site.json("?since=5") == {
        "events": [], "next": 5, "more": False, "reset": False, "lists": LISTS,
    }  # fmt: skip


async def test_an_event_says_what_the_lists_say_and_not_who_or_why(site):
    [serial] = await site.revoked(reason="certificateHold")
    await site.world.release(serial)
    held, released = (await site.json())["events"]
    at = site.world.time.now.isoformat()
    assert held == {
        "sequence": 1, "event": "held", "ca": "issuing", "serial": f"{serial:x}",
        "reason": "certificateHold", "revoked_at": at, "invalidity_date": None, "at": at,
    }  # fmt: skip
    gone = {"sequence": 2, "event": "released", "reason": None, "revoked_at": None}
    assert released == held | gone
    _, body, _ = await site.page()
    assert b"secret" not in body
    assert b"joe" not in body


async def test_a_position_that_the_ledger_has_not_reached_is_told(site):
    await site.revoked(2)
    page = await site.json("?since=100")
    assert (page["reset"], page["next"], page["events"]) == (True, 2, [])
    async with site.stream("?since=100") as reading:
        assert await reading.many(1) == [{"newest": 2}]
        assert (reading.events[0].event, reading.events[0].id) == ("reset", "2")
        await site.revoked()
        await site.endpoint.turn()
        assert [one["sequence"] for one in (await reading.many(2))[1:]] == [3]


@pytest.mark.parametrize(
    ("query", "rule"),
    [
        ("?since=-1", "feed.since"), ("?since=x", "feed.since"), ("?since=", "feed.since"),
        (f"?since={1 << 63}", "feed.since"), ("?since=" + "9" * 5000, "feed.since"),
        ("?since=١", "feed.since"), ("?limit=0", "feed.limit"), ("?limit=1001", "feed.limit"),
    ],
)  # fmt: skip
async def test_a_query_that_makes_no_sense(site, query, rule):
    status, body, _ = await site.page(query)
    assert (status, body.decode().split(":")[0]) == (400, rule)


@given(st.text(max_size=30), st.integers(0, 9), st.integers(9, 1 << 63))
def test_a_number_is_within_its_bounds_or_refused(text, least, most):
    with suppress(Malformed):
        assert least <= _number("since", text, least, most) <= most
    digits = str(most)
    assert _number("since", digits, least, most) == most


async def test_pages_and_caches(site):
    await site.revoked(3)
    _, body, full = await site.page("?limit=2")
    assert full["Cache-Control"] == "public, max-age=3600", "more came behind it: it is final"
    _, _, last = await site.page("?since=2")
    assert last["Cache-Control"] == "no-cache"
    for query, tag in (("?limit=2", full["ETag"]), ("?since=2", last["ETag"])):
        status, nothing, again = await site.page(query, **{"If-None-Match": tag})
        assert (status, nothing, again["ETag"]) == (304, b"", tag)
    await site.revoked()
    assert (await site.page("?since=2", **{"If-None-Match": last["ETag"]}))[0] == 200
    assert (await site.page("?limit=2"))[1] == body


async def test_what_is_not_there_and_what_is_not_done(site):
    for path in ("/", "/x", "/stream/", "x"):
        assert (await site.page(path))[0] == 404
    for path, method in (("", "POST"), ("/stream", "POST"), ("/stream", "HEAD")):
        async with site.client.request(method, site.url + path) as got:
            assert (got.status, got.headers["Allow"]) == (405, "GET")
    async with site.client.head(site.url) as got:
        assert got.status == 200


# -- streams ---------------------------------------------------------------------------------------


async def test_a_stream_begins_with_its_position_and_goes_on_with_what_happens(site):
    await site.revoked(2)
    async with site.stream() as reading:
        assert reading.answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert reading.answer.headers["Cache-Control"] == "no-store"
        await reading.at(2)
        assert reading.raw == b"id: 2\n\n"
        [serial] = await site.revoked(reason="keyCompromise")
        await site.endpoint.turn()
        [event] = await reading.many(1)
        assert event == (await site.json("?since=2"))["events"][0]
        assert (event["serial"], event["reason"]) == (f"{serial:x}", "keyCompromise")
        assert (reading.events[0].event, reading.events[0].id) == ("revoked", "3")


@pytest.mark.parametrize("kept", [True, False], ids=["in memory", "from the ledger"])
async def test_who_comes_back_misses_nothing(site, kept):
    await site.endpoint.turn()
    await site.revoked(1)
    await site.endpoint.turn()
    await site.revoked(1200)
    if not kept:  # another process, which has seen nothing
        site.endpoint.feed = Feed(site.world.ledger.revocations)
    await site.endpoint.turn()
    async with site.stream("?since=0", **{"Last-Event-ID": "1"}) as reading:
        found = await reading.many(1200)
    assert [one["sequence"] for one in found] == list(range(2, 1202)), "the header counts"


async def test_where_memory_begins_makes_no_difference(site):
    for _ in range(3):
        await site.revoked(400)
        await site.endpoint.turn()
    feed = site.endpoint.feed
    oldest = feed._recent[0][0]
    assert oldest > 1, "the first are not in memory any more"
    for position in range(oldest - 3, oldest + 2):
        piece = await feed.after(position)
        reader = EventReader()
        numbers = [json.loads(one.data)["sequence"] for one in reader.take(piece.octets)]
        assert numbers == list(range(position + 1, piece.position + 1))
        assert len(numbers) == piece.count > 0


async def test_everybody_gets_everything_once_while_it_happens(site):
    async with site.stream() as first, site.stream("?since=0") as second:
        tasks = [asyncio.create_task(one.many(60)) for one in (first, second)]
        for _ in range(20):
            await site.revoked(3)
            await site.endpoint.turn()
        for found in await asyncio.gather(*tasks):
            assert [one["sequence"] for one in found] == list(range(1, 61))


async def test_a_stream_without_events_is_kept_alive(tmp_path):
    async with serving(tmp_path, heartbeat=0.01) as site, site.stream() as reading:
        await reading.until(lambda one: one.raw.count(b": \n\n") >= 3)
        assert reading.events == []


async def test_there_are_only_so_many_streams_and_who_leaves_makes_room(tmp_path):
    async with serving(tmp_path, most_streams=1, heartbeat=1000) as site:
        async with site.stream() as reading:
            await reading.at(0)
            async with site.stream() as refused:
                assert refused.answer.status == 503
                assert refused.answer.headers["Retry-After"] == "30"
                assert (await refused.answer.text()).startswith("feed.busy: ")
        async with asyncio.timeout(PATIENCE):
            while True:
                await site.endpoint.turn()  # notices who is gone, long before a heartbeat
                async with site.stream() as again:
                    if again.answer.status == 200:
                        break
    async with serving(tmp_path / "none", most_streams=0) as site, site.stream() as refused:
        assert refused.answer.status == 503


async def test_a_slow_reader_is_cut_off_and_resumes_from_its_last_id(tmp_path):
    async with serving(tmp_path, patience=0.2) as site:
        count = 3000  # more octets than all buffers on the way take
        for _ in range(count // 1000):
            await site.revoked(1000)
        await site.endpoint.turn()
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, site.address)
        await loop.sock_sendall(slow, b"GET /revocations/stream?since=0 HTTP/1.0\r\n\r\n")
        await reached(lambda: site.endpoint._streams)
        await reached(lambda: not site.endpoint._streams)
        octets = b""
        async with asyncio.timeout(PATIENCE):
            try:
                while piece := await loop.sock_recv(slow, 65536):
                    octets += piece
            except ConnectionError:
                pass  # what was not sent yet is thrown away
        slow.close()
        reader = EventReader()
        seen = reader.take(octets.partition(b"\r\n\r\n")[2])
        assert len(seen) < count
        async with site.stream(**{"Last-Event-ID": reader.last_id or "0"}) as reading:
            rest = await reading.many(count - len(seen))
        numbers = [json.loads(one.data)["sequence"] for one in seen]
        assert numbers + [one["sequence"] for one in rest] == list(range(1, count + 1))


async def test_a_stream_ends_with_the_server(tmp_path):
    async with serving(tmp_path, heartbeat=1000) as site:
        async with site.stream() as reading:
            await reading.at(0)
            site.endpoint.close()
            with pytest.raises(EOFError):
                await reading.many(1)
        async with site.stream() as refused:
            assert refused.answer.status == 503


async def test_a_ledger_that_went_back_ends_streams_so_that_readers_start_anew(site):
    await site.revoked(3)
    await site.endpoint.turn()
    async with site.stream() as reading:
        await reading.at(3)
        site.endpoint.feed.newest = 9  # as if it had been read before the restore
        await site.endpoint.turn()
        with pytest.raises(EOFError):
            await reading.many(1)
    async with site.stream(**{"Last-Event-ID": "9"}) as reading:
        assert await reading.many(1) == [{"newest": 3}]


async def test_while_the_ledger_is_away_streams_stay_and_nothing_is_lost(site, monkeypatch):
    async with site.stream() as reading:
        await reading.at(0)
        revocations = type(site.world.ledger.revocations)

        async def away(_self):
            raise BackendUnavailable("ledger.unavailable", "gone")

        await site.revoked()
        with monkeypatch.context() as patched:
            patched.setattr(revocations, "last_event", away)
            await site.endpoint.turn()
            await site.endpoint.turn()
            assert (await site.page("?since=9"))[0] == 503
        await site.endpoint.turn()
        assert [one["sequence"] for one in await reading.many(1)] == [1]

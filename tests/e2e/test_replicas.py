"""Three replicas on PostgreSQL and Redis, while what they stand on fails part by part.

The long form is `make replicas`: Redis is away for 30 s, and every pause is longer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from dataclasses import replace

import pytest
from history import Asked, Enrolled, History, Listed, Refused, faults
from replica_site import REPLICAS, Site

LONG = os.environ.get("REPLICAS") == "long"
REDIS_AWAY = 30.0 if LONG else 3.0  # seconds
PAUSE = 8.0 if LONG else 2.0
DEVICES = 3
OFF_BY_A_MINUTE = ("env", "FAKETIME_DONT_FAKE_MONOTONIC=1", "faketime", "-f", "+60s")


@pytest.fixture(scope="module")
def site(need, new_server, tmp_path_factory):
    need("postgresql", "/usr/lib/postgresql")
    need("redis-server", "redis-server")
    need("faketime", "faketime")
    found = Site.make(tmp_path_factory.mktemp("replicas"), new_server)
    yield found
    found.close()


async def everything_fails_once(site):
    """Let one part after the other fail, and come back."""
    site.kill(0)
    await asyncio.sleep(PAUSE)
    site.start(0)
    await site.ready([0])
    gone = time.monotonic()
    site.redis.stop()
    await asyncio.sleep(REDIS_AWAY)
    site.redis.start()
    site.history.away.append((gone, time.monotonic()))
    await asyncio.sleep(PAUSE)
    for how in ("fast", "immediate"):
        site.cluster.down(how)
        await asyncio.sleep(1.0)
        site.cluster.up()
        await site.ready()
        await asyncio.sleep(PAUSE)
    assert site.cluster.cut(site.database) > 0
    await asyncio.sleep(PAUSE)
    site.kill(2)
    site.start(2, *OFF_BY_A_MINUTE)
    await site.ready()
    await asyncio.sleep(2 * PAUSE)


async def test_replicas_agree_whatever_fails(site):
    for number in range(REPLICAS):
        site.start(number)
    await site.ready()
    clients = [
        *(site.device(0.05) for _ in range(DEVICES)),
        *(site.relying_party(number) for number in range(REPLICAS)),
        site.responder(),
    ]
    tasks = [asyncio.create_task(client) for client in clients]
    try:
        await everything_fails_once(site)
    finally:
        site.stop.set()
        await asyncio.gather(*tasks)
    history = site.history
    print(
        f"{len(history.enrolled)} enrolled, {len(history.refused)} refused, "
        f"{len(history.revoked)} revoked, {len(history.asked)} answers "
        f"{dict(Counter(one.status for one in history.asked))}, {len(history.listed)} lists"
    )
    assert faults(history, await site.stored()) == []
    assert history.enrolled
    assert history.revoked
    assert {one.status for one in history.asked} >= {"GOOD", "REVOKED"}
    assert {one.replica for one in history.asked} == set(range(REPLICAS))
    for server in site.servers:
        assert "Traceback" not in (server.directory / "serve.log").read_text()


GOOD = History(
    enrolled=[Enrolled(b"a", 1), Enrolled(b"a", 1)],
    refused=[Refused(0.0, 0, 503, "5")],
    asked=[Asked(10.9, 0, 1, "GOOD"), Asked(11.1, 0, 1, "REVOKED"), Asked(99.0, 0, 2, "GOOD")],
    listed=[Listed(0, "x.crl", 1, b"1"), Listed(1, "x.crl", 1, b"1"), Listed(0, "x.crl", 2, b"2")],
    revoked={1: 10.0},
)


@pytest.mark.parametrize(
    ("change", "stored", "said"),
    [
        ({}, {b"a": [1]}, []),
        ({}, {}, ["lost"]),
        ({}, {b"a": [1, 2]}, ["doubled"]),
        ({"enrolled": [Enrolled(b"a", 1), Enrolled(b"a", 2)]}, {b"a": [1, 2]}, ["doubled"] * 2),
        ({"refused": [Refused(0.0, 0, 500, "5")]}, {b"a": [1]}, ["refused"]),
        ({"refused": [Refused(0.0, 0, 503, None)]}, {b"a": [1]}, ["refused"]),
        ({"asked": [Asked(11.5, 0, 1, "GOOD")]}, {b"a": [1]}, ["stale"]),
        ({"asked": [Asked(11.5, 0, 1, "GOOD")], "away": [(5.0, 9.5)]}, {b"a": [1]}, []),
        ({"asked": [Asked(12.5, 0, 1, "GOOD")], "away": [(5.0, 9.5)]}, {b"a": [1]}, ["stale"]),
        ({"asked": [Asked(11.5, 0, 1, "GOOD")], "away": [(5.0, 8.5)]}, {b"a": [1]}, ["stale"]),
        ({"listed": [Listed(0, "x", 1, b"1"), Listed(1, "x", 1, b"2")]}, {b"a": [1]}, ["reused"]),
        ({"listed": [Listed(0, "x", 2, b"1"), Listed(0, "x", 1, b"2")]}, {b"a": [1]}, ["back"]),
    ],
)
def test_the_checker_sees_what_must_not_be(change, stored, said):
    found = faults(replace(GOOD, **change), stored)
    assert [one.partition(":")[0] for one in found] == said

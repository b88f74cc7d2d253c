"""What every store of counts and wake-ups promises, in the process and in Redis."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis_process import RedisProcess, redis

from est_server.ports.ephemeral import REVOCATIONS, Budget
from est_server.storage import open_ephemeral
from est_server.storage.memory import MemoryEphemeral
from est_server.storage.redis import RedisEphemeral

WITHIN = 30.0
SOON = 0.05


@pytest.fixture(scope="module")
def running(need, tmp_path_factory):
    need("redis-server", "redis-server")
    with redis(tmp_path_factory.mktemp("redis")) as found:
        yield found


@pytest.fixture(params=["memory", "redis"])
async def open_again(request):
    """Opens the store once more, as another process would; memory is one process' own."""
    opened = []
    if request.param == "memory":
        found = MemoryEphemeral()
        yield lambda: found
        await found.close()
        return
    running = request.getfixturevalue("running")

    def again():
        opened.append(open_ephemeral(running.url))
        return opened[-1]

    yield again
    for one in opened:
        await one.close()


@pytest.fixture
def store(open_again):
    return open_again()


@pytest.fixture
def key():
    return secrets.token_hex(8)


async def eventually(told, what):
    async with asyncio.timeout(WITHIN):
        while not (found := await told()):  # noqa: ASYNC110 - a poll with a deadline
            await asyncio.sleep(0.02)
    assert found, what
    return found


# -- counts ----------------------------------------------------------------------------------------


async def test_a_budget_is_spent_and_then_refused(store, key):
    budget = Budget(3, 3600)
    assert [await store.spend(key, budget) for _ in range(3)] == [0, 0, 0]
    wait = await store.spend(key, budget)
    assert 1190 <= wait <= 1200, "a third of the time brings one back"
    assert await store.peek(key, budget) in range(wait - 10, wait + 1)
    assert not store.away


async def test_a_look_takes_nothing(store, key):
    budget = Budget(1, 3600)
    assert [await store.peek(key, budget) for _ in range(3)] == [0, 0, 0]
    assert await store.spend(key, budget) == 0
    assert await store.peek(key, budget) > 0


async def test_a_refusal_takes_nothing(store, key):
    budget = Budget(1, 2)
    await store.spend(key, budget)

    async def free():
        return await store.spend(key, budget) == 0

    await eventually(free, "refused attempts would have moved it on for ever")


async def test_keys_are_apart(store, key):
    budget = Budget(1, 3600)
    assert await store.spend(f"{key}a", budget) == 0
    assert await store.spend(f"{key}b", budget) == 0
    assert await store.spend(f"{key}a", budget) > 0


async def test_who_counts_at_the_same_time_shares_a_budget(open_again, key):
    stores = [open_again() for _ in range(3)]
    budget = Budget(10, 3600)
    found = await asyncio.gather(*(stores[n % 3].spend(key, budget) for n in range(60)))
    assert found.count(0) == 10


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(key=st.text(max_size=300), attempts=st.integers(1, 999_999), seconds=st.integers(1, 10**9))
async def test_any_key_and_any_budget_is_counted(store, key, attempts, seconds):
    salted = key + secrets.token_hex(8)
    assert await store.spend(salted, Budget(attempts, seconds)) == 0
    assert await store.peek(salted + "\udcff", Budget(attempts, seconds)) == 0


# -- wake-ups --------------------------------------------------------------------------------------


async def connected(store, other):
    """Return what hears `store`, once `other` is heard by it: Redis takes a moment."""
    wakes = store.wakes(REVOCATIONS)

    async def heard():
        await other.notify(REVOCATIONS)
        return await wakes.wait(SOON)

    await eventually(heard, "the first")
    while await wakes.wait(SOON):
        pass
    return wakes


async def test_who_waits_is_woken_by_another(open_again):
    store, other = open_again(), open_again()
    wakes = await connected(store, other)
    waiting = asyncio.create_task(wakes.wait(WITHIN))
    await asyncio.sleep(0)
    await other.notify(REVOCATIONS)
    assert await waiting


async def test_what_was_told_before_is_heard_once(open_again):
    store, other = open_again(), open_again()
    wakes = await connected(store, other)
    for _ in range(3):
        await store.notify(REVOCATIONS)
    assert await wakes.wait(WITHIN)
    while await wakes.wait(SOON):
        pass  # Redis may tell this process its own, too
    assert not await wakes.wait(SOON)


async def test_everybody_who_waits_is_woken(open_again):
    store, other = open_again(), open_again()
    first, second = await connected(store, other), store.wakes(REVOCATIONS)
    waiting = asyncio.gather(first.wait(WITHIN), second.wait(WITHIN))
    await asyncio.sleep(0)
    await other.notify(REVOCATIONS)
    assert await waiting == [True, True]


async def test_nobody_is_woken_by_nothing(store):
    wakes = store.wakes(REVOCATIONS)
    while await wakes.wait(SOON):
        pass  # a subscription that begins may have missed something
    assert not await wakes.wait(SOON)


# -- Redis goes and comes back ---------------------------------------------------------------------


@pytest.fixture
def unsteady(need, tmp_path):
    need("redis-server", "redis-server")
    found = RedisProcess(tmp_path)
    yield found
    found.stop()


async def test_without_redis_each_process_counts_and_wakes_for_itself(unsteady, key):
    store, other = RedisEphemeral(unsteady.url), RedisEphemeral(unsteady.url)
    budget = Budget(1, 3600)
    wakes, deaf = store.wakes(REVOCATIONS), other.wakes(REVOCATIONS)
    assert [await store.spend(key, budget), await other.spend(key, budget)] == [0, 0]
    assert await store.spend(key, budget) > 0
    assert store.away
    await store.notify(REVOCATIONS)
    assert await wakes.wait(WITHIN)
    assert not await deaf.wait(SOON)
    unsteady.start()
    assert await deaf.wait(WITHIN), "what was told meanwhile may have been lost: all are woken"
    await eventually(lambda: _is_back(store), "back without being asked")
    assert await store.spend(key, budget) == 0, "an empty Redis has counted nothing"
    assert await other.spend(key, budget) > 0, "and both count there"
    await store.close()
    await other.close()


@pytest.mark.parametrize("way", ["stop", "pause"])
async def test_redis_that_goes_in_the_middle_is_noticed_and_found_again(unsteady, key, way):
    unsteady.start()
    store, other = RedisEphemeral(unsteady.url), RedisEphemeral(unsteady.url)
    wakes = await connected(store, other)
    budget = Budget(2, 3600)
    assert await store.spend(key, budget) == 0
    getattr(unsteady, way)()
    await eventually(lambda: _is_away(store), "noticed without being asked")
    assert [await store.spend(key, budget) for _ in range(2)] == [0, 0], "its own count"
    assert await store.spend(key, budget) > 0
    unsteady.stop()
    unsteady.start()
    await eventually(lambda: _is_back(store), "found again")
    while await wakes.wait(SOON):
        pass
    await other.notify(REVOCATIONS)
    await eventually(lambda: _woken(wakes, other), "wake-ups pass again")
    await store.close()
    await other.close()


async def _is_back(store):
    return not store.away


async def _is_away(store):
    return store.away


async def _woken(wakes, other):
    await other.notify(REVOCATIONS)
    return await wakes.wait(SOON)

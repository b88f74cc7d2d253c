"""Leases: one holder at a time, and an old holder who writes nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from crl_world import SECOND, CrlWorld, listed

from est_server.app.leases import RENEW_EVERY, SILENT_FOR, LeaseKeeper
from est_server.errors import Conflict
from est_server.ports.leases import Fence
from est_server.revocation.publisher import OVERDUE

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


async def test_a_lease_is_taken_renewed_and_given_back(ledger):
    leases = ledger.leases
    assert await leases.get("work") is None
    first = await leases.take("work", "a", seen=None, at=AT)
    assert first == Fence("work", 1)
    taken = await leases.get("work")
    await leases.renew(first, at=AT + timedelta(seconds=1))
    renewed = await leases.get("work")
    assert (renewed.token, renewed.holder, renewed.seen_at) == (1, "a", AT + timedelta(seconds=1))
    assert renewed.beat > taken.beat
    await leases.release(first, at=AT)
    free = await leases.get("work")
    assert (free.holder, free.token) == (None, 1)
    second = await leases.take("work", "b", seen=free, at=AT)
    assert second.token == 2
    await leases.take("other", "b", seen=None, at=AT)
    assert [one.name for one in await leases.all()] == ["other", "work"]


async def test_who_took_his_decision_from_something_old_gets_nothing(ledger):
    leases = ledger.leases
    first = await leases.take("work", "a", seen=None, at=AT)
    seen = await leases.get("work")
    await leases.renew(first, at=AT)
    for stale in (None, seen):
        with pytest.raises(Conflict, match=r"lease\.taken"):
            await leases.take("work", "b", seen=stale, at=AT)
    await leases.take("work", "b", seen=await leases.get("work"), at=AT)
    with pytest.raises(Conflict, match=r"lease\.lost"):
        await leases.renew(first, at=AT)
    await leases.release(first, at=AT)
    assert (await leases.get("work")).holder == "b", "what is not yours can't be given back"


async def test_of_many_at_once_one_gets_it(ledger, open_again):
    others = [open_again() for _ in range(3)]

    async def taken(number, seen):
        try:
            return await others[number % 3].leases.take("work", str(number), seen=seen, at=AT)
        except Conflict:
            return None

    for token in (1, 2, 3):
        seen = await ledger.leases.get("work")
        found = await asyncio.gather(*(taken(number, seen) for number in range(12)))
        assert [one.token for one in found if one is not None] == [token]
    for one in others:
        await one.close()


async def test_an_outdated_token_reserves_and_publishes_nothing(ledger):
    world = CrlWorld(ledger)
    await world.issue(1)
    await world.settle()
    old = await ledger.leases.take("publisher", "a", seen=None, at=AT)
    scope, _ = (await ledger.crls.scopes())[0], await world.revoke(1)
    number = await ledger.crls.reserve_number(
        "ca", 0, after=scope.last_number, at=world.now, fence=old
    )
    await ledger.leases.take("publisher", "b", seen=await ledger.leases.get("publisher"), at=AT)
    newest = scope.newest("delta")
    with pytest.raises(Conflict, match=r"lease\.lost"):
        await ledger.crls.publish([(newest, b"late")], fence=old)
    with pytest.raises(Conflict, match=r"lease\.lost"):
        await ledger.crls.reserve_number("ca", 0, after=number, at=world.now, fence=old)
    after = (await ledger.crls.scopes())[0]
    assert (after.last_number, after.newest("delta")) == (number, newest), "nothing was changed"


# -- keepers ---------------------------------------------------------------------------------------


class Elapsed:
    """A process' own clock."""

    def __init__(self, seconds=1000.0):
        self.seconds = seconds

    def __call__(self):
        return self.seconds


def keeper(ledger, holder, elapsed):
    return LeaseKeeper(ledger.leases, "work", holder, lambda: AT, elapsed)


async def test_the_others_wait_while_there_are_signs_of_life(ledger, open_again):
    time, other = Elapsed(), open_again()
    first, second = keeper(ledger, "a", time), keeper(other, "b", time)
    assert (await first.fence()).token == 1
    for _ in range(12):
        time.seconds += RENEW_EVERY
        assert (await first.fence()).token == 1
        assert await second.fence() is None
    for _ in range(int(SILENT_FOR)):
        time.seconds += 1
        assert await second.fence() is None
    time.seconds += 1
    assert (await second.fence()).token == 2, "silent for long"
    assert await first.fence() is None, "and it finds out"
    await second.release()
    assert (await first.fence()).token == 3, "given back: nobody waits"
    await other.close()


async def test_clocks_of_two_machines_are_not_compared(ledger, open_again):
    other = open_again()
    near, far = Elapsed(5.0), Elapsed(1_000_000.0)
    first, second = keeper(ledger, "a", near), keeper(other, "b", far)
    assert await first.fence() is not None
    assert await second.fence() is None, "however late it is there"
    await other.close()


async def test_whoever_takes_over_is_the_holder_at_once(ledger, open_again):
    other = open_again()
    first, second = keeper(ledger, "a", Elapsed()), keeper(other, "b", Elapsed())
    await first.fence()
    assert (await second.take_over()).token == 2
    first.lost()
    assert await first.fence() is None
    await other.close()


# -- publishers under a lease ----------------------------------------------------------------------


async def test_one_publishes_and_the_others_bring_it_out(ledger, open_again):
    other, time = open_again(), Elapsed()
    world = CrlWorld(ledger)
    one, two = world.publisher, world.new_publisher(other)
    one.lease, two.lease = keeper(ledger, "a", time), keeper(other, "b", time)
    await world.issue(1)
    await world.settle()
    await world.revoke(1)
    assert await world.turn(two) == [], "it is due, and not this one's work"
    assert await world.turn(one) == [("delta", 3)]
    assert await world.turn(two) == []
    assert two.documents["ca-delta.crl"].der == one.documents["ca-delta.crl"].der
    await other.close()


async def test_what_the_holder_leaves_undone_another_does(ledger, open_again, monkeypatch):
    other, time = open_again(), Elapsed()
    world = CrlWorld(ledger)
    one, two = world.publisher, world.new_publisher(other)
    one.lease, two.lease = keeper(ledger, "a", time), keeper(other, "b", time)
    await world.issue(1)
    await world.issue(2)
    await world.settle()
    await world.revoke(1)
    assert await world.turn(two) == []
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda real=loop.time: real() + OVERDUE)
    assert await world.turn(two) == [("delta", 3)]
    world.now += SECOND
    await world.revoke(2)
    assert await world.turn(one) == [], "who wakes up is refused, and knows it then"
    assert await world.turn(two) == [("delta", 4)]
    assert listed(world.crl(kind="delta")).keys() <= {1, 2}
    await other.close()


async def test_a_holder_that_sleeps_between_number_and_list_loses(ledger, open_again):
    other, time = open_again(), Elapsed()
    world = CrlWorld(ledger)
    one, two = world.publisher, world.new_publisher(other)
    one.lease, two.lease = keeper(ledger, "a", time), keeper(other, "b", time)
    await world.issue(1)
    await world.settle()
    await world.revoke(1)
    reached, go_on = asyncio.Event(), asyncio.Event()
    signer = one.issuers["ca"].signer
    sign = signer.sign_tbs

    async def slow(tbs):
        reached.set()
        await go_on.wait()
        return await sign(tbs)

    signer.sign_tbs = slow
    late = asyncio.create_task(world.turn(one))
    await reached.wait()
    await two.lease.take_over()
    go_on.set()
    assert await late == [], "its list had a free number, and an old token"
    world.now += 11 * SECOND
    signer.sign_tbs = sign
    assert await world.turn(two) == [("delta", 4)]
    await other.close()

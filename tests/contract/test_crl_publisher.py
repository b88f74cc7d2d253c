"""Publishing through clocks that go back, restarts, full disks and rivals."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import replace
from datetime import timedelta

import pytest
from crl_world import HOUR, SECOND, START, TIMES, CrlWorld, broken, listed

from est_server.errors import BackendUnavailable, Conflict
from est_server.revocation.planning import CrlTimes
from est_server.storage.crl_directory import CrlDirectory
from est_server.wire.crl_reading import read_crl


@pytest.fixture
async def world(ledger):
    made = CrlWorld(ledger)
    for serial in (1, 2, 3):
        await made.issue(serial)
    await made.settle()
    return made


def numbers(world):
    return [one.crl.number for one in world.published]


# -- the schedule ----------------------------------------------------------------------------------


async def test_the_first_list_then_its_delta_then_nothing(world):
    assert [(one.crl.kind, one.crl.number) for one in world.published] == [
        ("base", 1),
        ("delta", 2),
    ]
    assert await world.turn() == []
    base, delta = world.crl(), world.crl(kind="delta")
    assert (base.number, delta.number, delta.base_number) == (1, 2, 1)
    assert base.this_update < delta.this_update <= world.now


async def test_a_revocation_is_on_the_next_delta_and_many_share_one(world):
    for serial in (1, 2):
        await world.revoke(serial)
    assert await world.turn() == [("delta", 3)]
    assert listed(world.crl(kind="delta")).keys() == {1, 2}
    assert await world.turn() == []
    await world.revoke(3)
    assert await world.turn() == [], "within the same second"
    world.now += SECOND
    assert await world.turn() == [("delta", 4)]
    assert world.published[-1].waited == 1.0


async def test_bases_come_on_time_with_a_delta_of_the_same_number(world):
    world.now = START + 8 * HOUR - SECOND - timedelta(microseconds=1)
    assert all(kind == "delta" for kind, _ in await world.turn())
    world.now += 2 * SECOND
    done = await world.turn()
    assert [kind for kind, _ in done] == ["base", "delta"]
    assert len({number for _, number in done}) == 1
    base, delta = (one.crl for one in world.published[-2:])
    assert base.this_update == delta.this_update
    assert delta.base_number == 1, "the oldest list in force"
    assert base.next_update - base.this_update == 24 * HOUR


async def test_a_delta_is_renewed_at_half_of_its_life(world):
    world.now += HOUR / 2 - 2 * SECOND
    assert await world.turn() == []
    world.now += 2 * SECOND
    assert await world.turn() == [("delta", 3)]


async def test_without_deltas_a_revocation_is_in_the_complete_list(ledger):
    world = CrlWorld(ledger, CrlTimes(24 * HOUR, 8 * HOUR, None))
    await world.issue(1)
    await world.settle()
    assert numbers(world) == [1]
    assert world.crl().freshest == ()
    await world.revoke(1)
    assert await world.turn() == [("base", 2)]
    assert listed(world.crl()).keys() == {1}


async def test_complete_lists_at_once_are_made_beside_the_delta_with_its_number(ledger):
    world = CrlWorld(ledger, replace(TIMES, complete_at_once=True))
    await world.issue(1)
    await world.settle()
    assert await world.turn() == []
    await world.revoke(1, "certificateHold")
    assert await world.turn() == [("base", 3), ("delta", 3)]
    base, delta = world.crl(), world.crl(kind="delta")
    assert listed(base).keys() == listed(delta).keys() == {1}
    assert (delta.base_number, base.this_update) == (1, delta.this_update)
    world.now += SECOND
    await world.release(1)
    assert await world.turn() == [("base", 4), ("delta", 4)]
    assert listed(world.crl()) == {}, "a release is seen by who knows no deltas"
    world.now += HOUR / 2
    assert await world.turn() == [("delta", 5)], "time alone renews the delta only"


async def test_deltas_that_are_given_up_leave_a_list_without_their_pointer(world):
    assert world.crl().freshest
    world.times = replace(TIMES, delta_lifetime=None)
    publisher = world.publisher = world.new_publisher()
    assert await world.turn(publisher) == [("base", 3)]
    assert world.crl().freshest == ()
    world.now += SECOND
    assert await world.turn(publisher) == []


# -- clocks ----------------------------------------------------------------------------------------


async def test_a_clock_that_goes_back_reuses_no_number_and_dates_nothing_ahead(world):
    world.now += timedelta(days=2)
    await world.turn()
    ahead = world.crl()
    world.now = START + HOUR
    done = await world.turn()
    assert [kind for kind, _ in done] == ["base", "delta"]
    again = world.crl()
    assert again.number > ahead.number
    assert again.this_update <= world.now < ahead.this_update
    assert await world.turn() == [], "once is enough"
    world.now += SECOND
    await world.revoke(1)
    assert await world.turn() == [("delta", again.number + 1)]


async def test_what_a_wrong_clock_dropped_comes_back(world):
    await world.issue(9, not_after=START + HOUR)
    await world.revoke(9)
    for _ in range(3):
        world.now += timedelta(days=2)
        await world.turn()
    assert 9 not in listed(world.crl())
    world.now = START + HOUR / 2
    await world.turn()
    assert 9 in listed(world.crl()), "it has not expired after all"


# -- restarts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["snapshot", "publish"])
async def test_a_crash_between_number_and_list_costs_a_number(world, step):
    await world.revoke(1)
    before = world.der(kind="delta")
    with broken(world.ledger.crls, step, BackendUnavailable("ledger.unavailable", "gone")):
        assert await world.turn() == []
    assert world.der(kind="delta") == before, "the old one stays"
    fresh = world.publisher = world.new_publisher()
    assert await world.turn(fresh) == [], "somebody may still be at it"
    assert world.der(kind="delta") == before, "what is published is brought out by whoever comes"
    world.now += 10 * SECOND
    assert await world.turn(fresh) == [("delta", 4)]
    assert listed(world.crl(kind="delta")).keys() == {1}
    assert sorted(set(numbers(world))) == numbers(world), "no number twice"


async def test_who_failed_itself_need_not_wait(world):
    await world.revoke(1)
    with broken(world.ledger.crls, "publish", BackendUnavailable("ledger.unavailable", "gone")):
        await world.turn()
    assert await world.turn() == [("delta", 4)]


async def test_a_key_that_fails_publishes_nothing(world):
    await world.revoke(1)
    issuer = world.publisher.issuers["ca"]
    error = BackendUnavailable("ca.signature", "its signature failed")
    before = world.der(kind="delta")
    with broken(issuer.signer, "sign_tbs", error):
        assert await world.turn() == []
    assert world.der(kind="delta") == before
    assert await world.turn() == [("delta", 4)]


async def test_another_key_under_the_same_name_is_refused(world):
    world.algorithm = "Ed25519"
    with pytest.raises(Conflict, match=r"crl\.key"):
        await world.new_publisher().start()


# -- rivals ----------------------------------------------------------------------------------------


async def test_two_publishers_at_once_never_share_a_number(ledger, open_again):
    others = [open_again() for _ in range(3)]
    world = CrlWorld(ledger)
    publishers = [world.publisher, *(world.new_publisher(one) for one in others)]
    await world.publisher.start()
    for serial in range(1, 31):
        await world.issue(serial)
        await world.revoke(serial)
        world.now += SECOND
        await asyncio.gather(*(world.turn(one) for one in publishers))
    world.now += 11 * SECOND
    for publisher in publishers:
        await world.turn(publisher)
    found = [(one.crl.kind, one.crl.number) for one in world.published]
    assert len(set(found)) == len(found)
    newest = [publisher.documents["ca-delta.crl"].der for publisher in publishers]
    last = max(newest, key=lambda der: read_crl(der).number)
    await asyncio.gather(*(world.turn(one) for one in publishers))
    for publisher in publishers:
        assert publisher.documents["ca-delta.crl"].der == last, "everybody has the same list"
    shown = {**listed(world.crl()), **listed(read_crl(last))}
    assert shown.keys() == set(range(1, 31))
    for one in others:
        await one.close()


async def test_a_slow_publisher_loses_and_its_number_is_never_seen(world):
    await world.revoke(1)
    reached, go_on = asyncio.Event(), asyncio.Event()
    signer = world.publisher.issuers["ca"].signer
    sign = signer.sign_tbs

    async def slow(tbs):
        reached.set()
        await go_on.wait()
        return await sign(tbs)

    signer.sign_tbs = slow
    late = asyncio.create_task(world.turn())
    await reached.wait()
    world.now += 11 * SECOND
    rival = world.new_publisher()
    assert await world.turn(rival) == [("delta", 4)]
    go_on.set()
    assert await late == []
    world.now += SECOND
    await world.turn()
    assert world.crl(kind="delta").number == 4


# -- the directory ---------------------------------------------------------------------------------


@pytest.fixture
async def outside(ledger, tmp_path):
    folder = tmp_path / "crl"
    made = CrlWorld(ledger, outlets={"ca": CrlDirectory(folder)})
    for serial in (1, 2):
        await made.issue(serial)
    await made.settle()
    await made.turn()
    return made, folder


async def test_the_directory_has_what_is_served_and_nothing_else(outside):
    world, folder = outside
    assert {path.name for path in folder.iterdir()} == {".lock", "ca.crl", "ca-delta.crl"}
    assert (folder / "ca.crl").read_bytes() == world.der()
    assert (folder / "ca-delta.crl").read_bytes() == world.der(kind="delta")
    assert (folder / "ca.crl").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
async def test_a_full_disk_leaves_the_old_list_and_no_half_one(outside, monkeypatch, call):
    world, folder = outside
    before = (folder / "ca-delta.crl").read_bytes()
    await world.revoke(1)
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace")}

    def full(*arguments, **options):
        if call == "open" and ".new" not in str(arguments[0]):
            return real["open"](*arguments, **options)
        if call == "write":
            real["write"](arguments[0], bytes(arguments[1][:10]))
        raise OSError(errno.ENOSPC, "No space left on device")

    if call == "replace":
        monkeypatch.setattr(type(folder), "replace", full)
    else:
        monkeypatch.setattr(os, call, full)
    assert await world.turn() == [("delta", 3)], "it is published, and not yet brought out"
    world.now += SECOND
    await world.revoke(2)
    world.publisher._rest_until.pop("ca.crl", None)
    done = await world.publisher.turn()
    assert [one.crl.number for one in done] == [4], "what fails outside holds up nobody else"
    monkeypatch.undo()
    assert (folder / "ca-delta.crl").read_bytes() == before
    assert not [path for path in folder.iterdir() if path.name.endswith(".new")]
    await world.turn()
    assert (folder / "ca-delta.crl").read_bytes() == world.der(kind="delta") != before


async def test_a_restored_ledger_goes_on_above_what_is_outside(outside, tmp_path):
    world, folder = outside
    number = read_crl((folder / "ca-delta.crl").read_bytes()).number
    (folder / "ca.crl").write_bytes((folder / "ca-delta.crl").read_bytes())
    from ledger_adapters import LEDGERS

    (tmp_path / "restored").mkdir()
    restored = LEDGERS["sqlite"](tmp_path / "restored")()
    again = CrlWorld(restored, outlets={"ca": CrlDirectory(folder)}, now=world.now + HOUR)
    await again.publisher.start()
    assert await again.turn() == [("base", number + 1)]
    await restored.close()


async def test_an_older_list_never_replaces_a_newer_one(outside):
    world, folder = outside
    new = (folder / "ca-delta.crl").read_bytes()
    number = read_crl(new).number
    outlet = CrlDirectory(folder)
    for older in (number, number - 1):
        await outlet.put("ca-delta.crl", older, b"old")
        assert (folder / "ca-delta.crl").read_bytes() == new
    assert await outlet.number("ca-delta.crl") == number
    assert await outlet.number("nobody.crl") == 0
    (folder / "ca-delta.crl").write_bytes(b"half")
    assert await outlet.number("ca-delta.crl") == 0
    await world.turn()


async def test_a_directory_that_is_not_one_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    outlet = CrlDirectory(tmp_path / "file")
    with pytest.raises(BackendUnavailable, match=r"publisher\.unavailable"):
        await outlet.put("a.crl", 1, b"x")
    with pytest.raises(BackendUnavailable, match=r"publisher\.unavailable"):
        await outlet.number("a.crl")


@pytest.mark.parametrize("open_again", ["sqlite"], indirect=True)  # a limit that SQLite has
async def test_a_ledger_whose_disk_is_full_publishes_later_and_skips_no_revocation(world):
    """SQLite itself says that the database is full, at each write of a publication."""
    await world.revoke(1)
    before = world.der(kind="delta")
    writer = world.ledger._writer.writer
    connection = writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    crls = type(world.ledger.crls)
    publish = crls.publish

    async def large(self, lists, **options):
        await publish(self, [(crl, der + bytes(1 << 20)) for crl, der in lists], **options)

    crls.publish = large  # more than the free pages that are left
    try:
        assert await world.turn() == []
    finally:
        crls.publish = publish
    assert world.der(kind="delta") == before, "the old one stays"
    assert (await world.ledger.crls.crl_der("ca", 0, "delta"))[1] == before
    assert writer._connection is None, "opened anew, and without the limit"
    assert await world.turn() == [("delta", 4)], "the number that was lost is not used again"
    assert listed(world.crl(kind="delta")).keys() == {1}

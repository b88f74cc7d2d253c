"""Compact sets out of ledgers: whoever asks about a certificate that exists is told the truth."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sys
import tempfile
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from compact_world import CompactWorld
from crl_world import HOUR, SECOND, CrlWorld, broken
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ledger_adapters import HISTORIES, LEDGERS
from ledger_world import any_key, issue, reservation

from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.crl import COMPACT, SERIAL_OCTETS
from est_server.revocation import compact_filter
from est_server.storage.crl_directory import CrlDirectory
from est_server.wire.compact_set import decode_compact_set, read_compact_set, serial_octets

DAY = 24 * HOUR


@pytest.fixture
async def world(ledger):
    made = CompactWorld(ledger)
    await made.publisher.start()
    for serial in (1, 2, 3):
        await made.certify(serial)
    made.now += 2 * HOUR
    return made


def serials(octets):
    cut = range(0, len(octets), SERIAL_OCTETS)
    return [int.from_bytes(octets[at : at + SERIAL_OCTETS], "big") for at in cut]


# -- what the ledger says --------------------------------------------------------------------------


async def test_the_universe_is_every_certificate_of_the_ca_that_has_not_ended(world):
    await world.certify(4, lives=HOUR)
    await world.certify(5, under_way=True)
    await world.certify(6, under_way=True)
    await world.arrive(6, "presumed")
    await world.change(1, "superseded")
    await world.change(2, "certificateHold")
    elsewhere = reservation(any_key(), serial=9, ca="cb")
    await issue(world.ledger, elsewhere)
    found = await world.ledger.crls.universe("ca", ends_from=world.now)
    assert (sorted(serials(found.good)), sorted(serials(found.not_good))) == ([3, 4, 5], [1, 2, 6])
    assert found.sequence == 2
    assert found.begins == world.certificates[1].not_before
    later = await world.ledger.crls.universe("ca", ends_from=world.now + HOUR)
    assert (sorted(serials(later.good)), sorted(serials(later.not_good))) == ([3, 5], [1, 2, 6])
    nothing = await world.ledger.crls.universe("cc", ends_from=world.now)
    assert (nothing.good, nothing.not_good, nothing.begins) == (b"", b"", None)


async def test_an_end_at_the_bound_is_in(world):
    end = world.certificates[3].not_after
    found = await world.ledger.crls.universe("ca", ends_from=end)
    assert sorted(serials(found.good)) == [1, 2, 3]
    found = await world.ledger.crls.universe("ca", ends_from=end + SECOND)
    assert serials(found.good) == []


# -- the schedule ----------------------------------------------------------------------------------


async def test_a_set_comes_at_the_start_and_on_time(world):
    assert await world.turn() == [("compact", 1)]
    first = world.set()
    assert (first.this_update, first.next_update) == (world.now, world.now + DAY)
    assert (first.ends_from, first.begins_until) == (world.now, world.now - HOUR)
    assert first.begins_from == world.certificates[1].not_before
    assert (first.certificates, first.not_good, first.number) == (3, 0, 1)
    await world.change(1, "superseded")
    world.now += HOUR - SECOND
    assert await world.turn() == [], "a revocation alone makes none due"
    world.now += SECOND
    assert await world.turn() == [("compact", 2)]
    assert world.answers(world.set()) == {1: "revoked", 2: "good", 3: "good"}
    assert await world.turn() == []


async def test_a_set_can_be_forced_once_a_second(world):
    await world.turn()
    assert await world.turn(forced=frozenset({"ca"})) == []
    world.now += SECOND
    assert await world.turn(forced=frozenset({"ca"})) == [("compact", 2)]


async def test_a_clock_that_went_back_makes_one_due_with_a_higher_number(world):
    await world.turn()
    before = world.set()
    world.now -= HOUR
    assert await world.turn() == [("compact", 2)]
    assert world.set().begins_until < before.begins_until


async def test_numbers_are_the_sets_own_and_those_of_lists_stay(world):
    lists = CrlWorld(world.ledger)
    lists.now = world.now
    await lists.settle()
    assert await world.turn() == [("compact", 1)]
    assert {(one.crl.kind, one.crl.number) for one in lists.published} == {
        ("base", 1), ("delta", 2),
    }  # fmt: skip
    scopes = {one.shard: one for one in await world.ledger.crls.scopes()}
    assert (scopes[0].last_number, scopes[COMPACT].last_number) == (2, 1)
    assert "ca.set" not in lists.publisher.documents
    assert world.publisher.documents.keys() == {"ca.set"}


async def test_of_two_publishers_one_makes_it_and_both_have_it(world, open_again):
    other = open_again()
    rival = world.new_publisher(other)
    await asyncio.gather(world.turn(), world.turn(rival))
    assert [one.crl.number for one in world.published] == [1]
    for publisher in (world.publisher, rival):
        await world.turn(publisher)
        assert world.set(publisher).number == 1
    await other.close()


async def test_whoever_reserved_a_number_is_given_minutes(world, open_again):
    """A large set takes seconds to make: nobody else should begin meanwhile."""
    await world.ledger.crls.reserve_number("ca", COMPACT, after=0, at=world.now)
    world.now += timedelta(minutes=4)
    assert await world.turn() == []
    world.now += timedelta(minutes=2)
    assert await world.turn() == [("compact", 2)]


async def test_a_failure_costs_a_number_and_leaves_the_old_set(world):
    await world.turn()
    before = world.publisher.documents["ca.set"].der
    world.now += HOUR
    failure = BackendUnavailable("ledger.unavailable", "away")
    with broken(world.ledger.crls, "universe", failure):
        assert await world.turn() == []
    assert world.publisher.documents["ca.set"].der == before
    assert await world.turn() == [("compact", 3)]


async def test_after_a_restart_it_is_brought_out_of_the_ledger(world):
    await world.turn()
    restarted = world.new_publisher()
    await restarted.start()
    assert await world.turn(restarted) == []
    assert restarted.documents["ca.set"].der == world.publisher.documents["ca.set"].der


async def test_a_restored_ledger_goes_on_above_the_directory(world, tmp_path):
    world.outlets["ca"] = CrlDirectory(tmp_path)
    await world.turn()
    world.now += HOUR
    await world.turn()
    assert read_compact_set((tmp_path / "ca.set").read_bytes()).number == 2
    with tempfile.TemporaryDirectory() as folder:
        restored = CompactWorld(LEDGERS["sqlite"](Path(folder))(), outlets=world.outlets)
        await restored.publisher.start()
        assert await restored.turn() == [("compact", 3)]
        await restored.ledger.close()
    assert read_compact_set((tmp_path / "ca.set").read_bytes()).number == 3
    (tmp_path / "ca.set").write_bytes(b"half a set")
    assert await CrlDirectory(tmp_path).number("ca.set") == 0


# -- large sets ------------------------------------------------------------------------------------


def numbered(count):
    return b"".join(secrets.token_bytes(SERIAL_OCTETS) for _ in range(count))


async def test_a_large_set_is_solved_in_a_process_of_its_own(world, monkeypatch):
    await world.turn()
    empty, octets = world.set(), numbered(1500)
    empty = replace(empty, certificates=1500, not_good=100)

    def never(*_arguments):
        raise AssertionError("in this process")

    monkeypatch.setattr(compact_filter, "_solved", never)
    found = decode_compact_set(await compact_filter.with_filter(empty, octets))
    told = [found.filter.has(serial_octets(serial)) for serial in serials(octets)]
    assert told == [True] * 100 + [False] * 1400


async def test_a_process_that_fails_says_why(world):
    await world.turn()
    twice = numbered(600) * 2
    empty = replace(world.set(), certificates=1200, not_good=600)
    with pytest.raises(BackendUnavailable, match=r"compact-set\.build") as caught:
        await compact_filter.with_filter(empty, twice)
    assert "no seed works" in caught.value.hint


async def test_a_process_ends_with_whoever_waits_for_it(world, tmp_path, monkeypatch):
    await world.turn()
    child = tmp_path / "python"
    child.write_text(
        f"#!/bin/sh\ncat > {tmp_path}/work\necho $$ > {tmp_path}/pid\nexec sleep 600\n"
    )
    child.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(child))
    empty = replace(world.set(), certificates=600, not_good=1)
    task = asyncio.create_task(compact_filter.with_filter(empty, numbered(600)))
    deadline, file = time.monotonic() + 20, tmp_path / "pid"
    while not (file.exists() and file.read_text().strip()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task}, timeout=20)
    assert task.cancelled()
    with pytest.raises(ProcessLookupError):
        os.kill(int(file.read_text()), 0)


# -- histories -------------------------------------------------------------------------------------

SERIALS = st.integers(1, 8)
REASONS = st.sampled_from(["certificateHold", "certificateHold", "superseded", "keyCompromise"])
STEPS = st.one_of(
    st.tuples(st.just("certify"), SERIALS, st.sampled_from([HOUR, 3 * HOUR, DAY, 90 * DAY])),
    st.tuples(st.just("begin"), SERIALS),
    st.tuples(st.just("arrive"), SERIALS, st.sampled_from(["good", "presumed"])),
    st.tuples(st.just("revoke"), SERIALS, REASONS),
    st.tuples(st.just("release"), SERIALS),
    st.tuples(st.just("wait"), st.sampled_from([SECOND, HOUR / 4, HOUR, 3 * HOUR])),
    st.just(("publish",)),
)  # fmt: skip


@pytest.mark.parametrize("adapter", HISTORIES)
@settings(
    max_examples=40,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEPS, max_size=40))
def test_every_set_in_force_tells_the_truth(adapter, steps):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_history(LEDGERS[adapter](Path(folder))(), [*steps, ("publish",)]))


async def _history(ledger, steps):
    world = CompactWorld(ledger)
    await world.publisher.start()
    made = []  # every set, with what was true when it was made
    for step, *rest in steps:
        if step == "publish":
            world.now += SECOND
            if await world.turn(forced=frozenset({"ca"})):
                truth = {one.serial: _truth(one) for one in world.certificates.values()}
                made.append((world.set(), truth))
        else:
            with contextlib.suppress(Conflict, KeyError):
                await _step(world, step, *rest)
        for found, truth in made:
            _require(world, found, truth)
    numbers = [found.number for found, _ in made]
    assert numbers == sorted(set(numbers))
    await ledger.close()


async def _step(world, step, *rest):
    if step == "wait":
        world.now += rest[0]
        return
    serial = rest[0]
    if step in {"certify", "begin"}:
        if serial not in world.certificates:
            lives = rest[1] if step == "certify" else DAY
            await world.certify(serial, lives=lives, under_way=step == "begin")
    elif world.certificates[serial].made is not None:
        if step == "arrive":
            await world.arrive(serial, rest[1])
    elif step == "revoke":
        await world.change(serial, rest[1])
    elif step == "release":
        await world.unhold(serial)


def _truth(one):
    return "good" if one.made is not None or one.status == "good" else "revoked"


def _require(world, found, truth):
    """A certificate is told what was true, or that it is not covered: never anything else."""
    for serial, answer in world.answers(found).items():
        one = world.certificates[serial]
        if serial not in truth:
            assert answer == "not-covered", "it was issued later"
        elif one.not_after < found.ends_from or one.not_before > found.begins_until:
            assert answer == "not-covered"
        elif one.not_before >= found.begins_from:
            assert answer == truth[serial]
        else:
            assert answer == "not-covered"

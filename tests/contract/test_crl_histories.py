"""base + delta = complete list, for every base that somebody may still hold (RFC 5280 5.2.4)."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from crl_world import HOUR, SECOND, CrlWorld, applied, listed
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from ledger_adapters import HISTORIES, LEDGERS

from est_server.errors import Conflict
from est_server.revocation.planning import CrlTimes

SERIALS = st.integers(1, 6)
STEPS = st.one_of(
    st.tuples(
        st.just("revoke"),
        SERIALS,
        st.sampled_from(["certificateHold", "certificateHold", "superseded", "keyCompromise"]),
    ),
    st.tuples(st.just("release"), SERIALS),
    st.tuples(st.just("wait"), st.sampled_from([SECOND, HOUR, 5 * HOUR, 9 * HOUR, 25 * HOUR])),
    st.just(("publish",)),
)
KEPT = st.sampled_from([timedelta(0), 12 * HOUR])
ENDS = st.lists(st.sampled_from([-1, 6, 20, 40, 10_000]), min_size=6, max_size=6)  # hours


class Model:
    """What the complete list should say, from the words of the RFC: an entry stays until a list
    has shown it after its end; removeFromCRL takes it away; a new event brings it back."""

    def __init__(self, ends, kept):
        self.ends, self.kept = ends, kept
        self.standing = {}  # serial -> reason in the CRL's words
        self.shown = set()  # those that a complete list has shown after their end
        self.touched = set()  # those that ever had an event
        self.gone = set()  # those that the newest complete list left out for it

    def event(self, serial, reason):
        self.touched.add(serial)
        self.shown.discard(serial)
        self.gone.discard(serial)
        if reason is None:
            self.standing.pop(serial, None)
        else:
            self.standing[serial] = reason

    def complete(self):
        return {serial: r for serial, r in self.standing.items() if serial not in self.gone}

    def base(self, this_update):
        self.gone = set(self.shown)
        found = self.complete()
        ended = {s for s in found if self.ends[s] + self.kept < this_update}
        self.shown |= ended
        return found


REASONS = {
    "certificateHold": "certificate_hold",
    "superseded": "superseded",
    "keyCompromise": "key_compromise",
}


WAIT = ("wait", 9 * HOUR)
ENDED = [("revoke", 1, "superseded"), ("publish",), WAIT, WAIT]
RELEASED = [("revoke", 1, "certificateHold"), ("publish",), ("release", 1)]


@pytest.mark.parametrize("adapter", HISTORIES)
@example(ENDED, [6] * 6, timedelta(0), 0, False)  # dropped from a list while others still have it
@example(RELEASED, [40] * 6, timedelta(0), 2, False)
@example(ENDED[:3], [-1] * 6, timedelta(0), 0, False)  # revoked after its end, and shown once
@example(  # a list between the base and the delta has it
    [("publish",), ("revoke", 1, "certificateHold"), WAIT, ("release", 1)],
    [40] * 6,
    timedelta(0),
    0,
    False,
)
@example([*RELEASED, WAIT, ("revoke", 1, "superseded")], [40] * 6, timedelta(0), 0, False)
@settings(
    max_examples=30,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(STEPS, max_size=30),
    ends=ENDS,
    kept=KEPT,
    shards=st.sampled_from([0, 2]),
    at_once=st.booleans(),
)
def test_every_base_and_the_newest_delta_are_the_complete_list(
    adapter, steps, ends, kept, shards, at_once
):
    with tempfile.TemporaryDirectory() as folder:
        times = CrlTimes(24 * HOUR, 8 * HOUR, HOUR, kept, at_once)
        asyncio.run(_history(LEDGERS[adapter](Path(folder)), steps, ends, times, shards))


async def _history(make_ledger, steps, ends, times, shards):
    ledger, kept = make_ledger(), times.keep_expired
    world = CrlWorld(ledger, times, shards)
    try:
        await world.publisher.start()
        end = {s: world.now + hours * HOUR for s, hours in enumerate(ends, 1)}
        for serial, time in end.items():
            await world.issue(serial, shard=serial % 2 + 1 if shards else 0, not_after=time)
        views = [View(world, shard, Model(end, kept)) for shard in range(shards + 1)]
        for step in (*steps, ("publish",)):
            await _step(world, views, step)
    finally:
        await ledger.close()


class View:
    """One scope: the model's idea of it, and the lists that relying parties may hold."""

    def __init__(self, world, shard, model):
        self.world, self.shard, self.model = world, shard, model
        self.bases = []

    def has(self, serial):
        return self.shard in {0, serial % 2 + 1}

    def check(self, kind):
        crl = self.world.crl(self.shard, kind)
        if kind == "base":
            assert reasons(listed(crl)) == self.model.base(crl.this_update)
            self.bases.append(crl)
            return
        usable = [
            base
            for base in self.bases
            if base.next_update > crl.this_update and base.number < crl.number
        ]
        assert crl.base_number < crl.number
        for base in usable:
            assert base.number >= crl.base_number, "every list in force can be used"
            assert reasons(applied(base, crl)) == self.model.complete()
        removed = {s for s, e in listed(crl).items() if e[0] == "remove_from_crl"}
        assert removed <= self.model.touched, "only what some list may have is removed from it"


def reasons(entries):
    return {serial: reason for serial, (reason, _, _) in entries.items()}


async def _step(world, views, step):
    match step:
        case ("revoke", serial, reason):
            with contextlib.suppress(Conflict):
                await world.revoke(serial, reason)
                for view in views:
                    if view.has(serial):
                        view.model.event(serial, REASONS[reason])
        case ("release", serial):
            with contextlib.suppress(Conflict):
                await world.release(serial)
                for view in views:
                    if view.has(serial):
                        view.model.event(serial, None)
        case ("wait", span):
            world.now += span
            await _step(world, views, ("publish",))
        case ("publish",):
            for _ in range(2):  # the first delta follows the first base
                world.now += SECOND
                before = len(world.published)
                await world.turn()
                for one in sorted(world.published[before:], key=lambda found: found.crl.kind):
                    views[one.crl.shard].check(one.crl.kind)

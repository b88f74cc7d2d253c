"""What every ledger promises about certificates that others replace."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_world import NOW, WINDOW, any_key, certificate, issue, reservation

from est_server.enrollment.supersede import supersede_due
from est_server.ports.revocation import Revocation
from est_server.ports.supersession import PlannedSupersession, Supersession

HOUR = timedelta(hours=1)
OLD = 0x2A


def replacing(at=NOW, due=HOUR, **fields):
    plan = Supersession("ca", OLD, at + due)
    return reservation(any_key(), at=at, supersedes=(plan,), **fields)


@pytest.fixture
async def old(ledger):
    made = reservation(serial=OLD)
    await issue(ledger, made)
    return made


async def due(ledger, at):
    return [planned.request_id for planned in await ledger.supersessions.due(at)]


async def test_a_plan_is_due_from_its_time_on(ledger, old):
    made = replacing()
    await issue(ledger, made)
    assert await due(ledger, NOW + HOUR - timedelta(microseconds=1)) == []
    expected = PlannedSupersession(Supersession("ca", OLD, NOW + HOUR), made.request.id)
    assert await ledger.supersessions.due(NOW + HOUR) == [expected]
    assert await ledger.supersessions.of_certificate("ca", OLD) == [expected]
    assert await ledger.supersessions.of_certificate("other", OLD) == []


async def test_a_plan_takes_effect_with_its_certificate(ledger, old):
    made = replacing()
    await ledger.reserve(made, window_start=WINDOW)
    assert await due(ledger, NOW + HOUR) == []
    await ledger.record(made.request.id, certificate(made))
    assert await due(ledger, NOW + HOUR) == [made.request.id]


async def test_a_request_that_comes_to_nothing_supersedes_nothing(ledger, old):
    made = replacing()
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.settle(made.request.id, "rejected", reason="no", at=NOW)
    assert await due(ledger, NOW + HOUR) == []


async def test_the_latest_plan_for_a_certificate_counts(ledger, old):
    first, second = replacing(), replacing(at=NOW + HOUR / 2)
    await issue(ledger, first)
    await issue(ledger, second)
    assert await due(ledger, NOW + HOUR) == []
    late = NOW + 2 * HOUR
    assert await due(ledger, late) == [first.request.id, second.request.id]
    (planned, _) = await ledger.supersessions.due(late)
    await ledger.supersessions.settle(planned, "revoked", late)
    assert await due(ledger, late) == []
    found = await ledger.supersessions.of_certificate("ca", OLD)
    assert [(one.request_id, one.outcome, one.done_at) for one in found] == [
        (second.request.id, "revoked", late),
        (first.request.id, "revoked", late),
    ]


async def test_a_later_plan_that_came_to_nothing_delays_nothing(ledger, old):
    first, second = replacing(), replacing(at=NOW + HOUR / 2)
    await issue(ledger, first)
    await ledger.reserve(second, window_start=WINDOW)
    assert await due(ledger, NOW + HOUR) == [first.request.id]


async def test_what_is_due_is_revoked_once(ledger, old, open_again):
    await issue(ledger, replacing())
    assert await supersede_due(ledger, lambda: NOW) == 0
    other = open_again()
    assert await supersede_due(ledger, lambda: NOW + HOUR) == 1
    assert await supersede_due(other, lambda: NOW + HOUR) == 0
    await other.close()
    found = await ledger.certificate("ca", OLD)
    assert (found.status, found.revocation_reason) == ("revoked", "superseded")


async def test_who_was_faster_or_gone_ends_the_plan(ledger, old):
    gone = Supersession("ca", 0x2B, NOW)
    await issue(ledger, reservation(any_key(), supersedes=(gone, Supersession("ca", OLD, NOW))))
    order = Revocation("ca", OLD, "keyCompromise", NOW, "os:alice")
    await ledger.revocations.revoke([order])
    assert await supersede_due(ledger, lambda: NOW) == 0
    (planned,) = await ledger.supersessions.of_certificate("ca", OLD)
    assert planned.outcome == "was-revoked"
    (planned,) = await ledger.supersessions.of_certificate("ca", 0x2B)
    assert planned.outcome == "unknown"
    assert (await ledger.certificate("ca", OLD)).revocation_reason == "keyCompromise"


async def test_a_certificate_that_was_shown_is_seen_once(ledger, old):
    shown = ("ca", OLD)
    assert (await ledger.certificate("ca", OLD)).seen_at is None
    for at in (NOW + HOUR, NOW + 2 * HOUR):
        await issue(ledger, reservation(any_key(), at=at, shown=shown))
    assert (await ledger.certificate("ca", OLD)).seen_at == NOW + HOUR

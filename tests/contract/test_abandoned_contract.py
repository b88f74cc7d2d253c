"""Whose reservations nobody works on any more, as every ledger tells it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_world import NOW, WINDOW, any_key, certificate, reservation

from est_server.enrollment.reconcile import SILENT_FOR, forget_silent
from est_server.ports.ledger import NodeStatus

SECOND = timedelta(seconds=1)
EARLIER = NOW - 10 * SECOND


def seen(node, at):
    return NodeStatus(node, 1, "host", WINDOW, at, "digest", 0, None)


@pytest.fixture
async def one(open_again):
    """The ledger as the server process "one" has it."""
    found = open_again("one")
    yield found
    await found.close()


async def abandoned(ledger, alive_since=NOW):
    return [request.id for request in await ledger.abandoned(alive_since)]


async def test_what_a_living_process_reserved_is_its_own(ledger, one):
    made = reservation(at=EARLIER)
    await one.report_node(seen("one", NOW))
    await one.reserve(made, window_start=WINDOW)
    assert await abandoned(ledger) == []
    assert await ledger.unsettled() == [made.request]


async def test_a_process_that_was_not_seen_since_then_has_left_its_own_behind(ledger, one):
    made = reservation(at=EARLIER)
    await one.report_node(seen("one", NOW - SECOND))
    await one.reserve(made, window_start=WINDOW)
    assert await ledger.abandoned(NOW) == [made.request]
    await one.report_node(seen("one", NOW))
    assert await abandoned(ledger) == []


async def test_a_process_that_said_it_ended_has_too(ledger, one):
    made = reservation(at=EARLIER)
    await one.report_node(seen("one", NOW))
    await one.reserve(made, window_start=WINDOW)
    await one.forget_node("one")
    assert await abandoned(ledger) == [made.request.id]


async def test_another_process_that_lives_does_not_answer_for_it(ledger, one):
    made = reservation(at=EARLIER)
    await one.reserve(made, window_start=WINDOW)
    await ledger.report_node(seen("two", NOW))
    assert await abandoned(ledger) == [made.request.id]


async def test_what_is_younger_is_left_alone_whoever_made_it(ledger, one):
    made = reservation(at=NOW)
    await one.reserve(made, window_start=WINDOW)
    assert await abandoned(ledger, NOW) == []
    assert await abandoned(ledger, NOW + SECOND) == [made.request.id]


async def test_what_has_an_outcome_is_never_among_them(ledger, one):
    made = [reservation(any_key(), at=EARLIER - n * SECOND) for n in range(4)]
    for each in made:
        await one.reserve(each, window_start=WINDOW)
    await one.record(made[0].request.id, certificate(made[0]))
    await one.settle(made[1].request.id, "parked", reason="x", at=NOW)
    assert await abandoned(ledger) == [made[3].request.id, made[2].request.id]


async def test_who_was_silent_for_a_day_is_forgotten_and_its_reservations_are_not(ledger, one):
    made = reservation(at=EARLIER)
    await one.report_node(seen("one", EARLIER))
    await one.reserve(made, window_start=WINDOW)
    await forget_silent(ledger, lambda: EARLIER + SILENT_FOR)
    assert [node.node for node in await ledger.nodes()] == ["one"]
    await forget_silent(ledger, lambda: EARLIER + SILENT_FOR + SECOND)
    assert await ledger.nodes() == []
    assert await abandoned(ledger) == [made.request.id]

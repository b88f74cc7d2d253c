"""Orders at CAs elsewhere: the table of transitions, and what is kept of wrong answers."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_world import NOW, WINDOW, any_key, certificate, reservation, rules

from est_server.errors import Conflict
from est_server.ports.orders import TRANSITIONS, Ordered, Question
from est_server.ports.upstream import UpstreamRefusal

LATER = NOW + timedelta(minutes=1)
QUESTION = Question(b"m" * 32, b"c" * 32)
TICKET = "https://ca.example/order/1"
STATES = ("reserved", "waiting", "parked", "issued", "rejected")


async def ordered(ledger, **fields):
    made = reservation(any_key(), **fields)
    made = replace(made, ordered=Ordered(b"csr", b"names", QUESTION), replaces=7)
    await ledger.reserve(made, window_start=WINDOW)
    return made


async def happen(ledger, event, made):
    orders, request = ledger.orders, made.request.id
    match event:
        case "prepare":
            await orders.prepare(request, ticket=TICKET, at=NOW)
        case "wait":
            await orders.wait(request, until=LATER, reason="ca.pending", at=NOW)
        case "ask":
            await orders.ask(request, at=NOW)
        case "park":
            await orders.park(request, reason="ca.timeout", next_at=LATER, at=NOW)
        case "record":
            await orders.record(request, certificate(made))
        case "reject":
            await orders.reject(request, reason="ca.refused", at=NOW)


async def brought_to(ledger, state):
    made = await ordered(ledger)
    for event in {"reserved": (), "waiting": ("wait",), "parked": ("park",),
                  "issued": ("record",), "rejected": ("reject",)}[state]:  # fmt: skip
        await happen(ledger, event, made)
    return made


@pytest.mark.parametrize("event", TRANSITIONS)
@pytest.mark.parametrize("state", STATES)
async def test_nothing_happens_but_what_the_table_says(ledger, event, state):
    made = await brought_to(ledger, state)
    sources, target = TRANSITIONS[event]
    if state in sources:
        await happen(ledger, event, made)
        assert (await ledger.request(made.request.id)).state == target
    else:
        with pytest.raises(Conflict, match=r"request\.state"):
            await happen(ledger, event, made)
        assert (await ledger.request(made.request.id)).state == state


async def test_an_order_is_read_as_it_was_written(open_again):
    ledger = open_again()
    made = await brought_to(ledger, "waiting")
    await ledger.close()
    ledger = open_again()
    found = await ledger.orders.asked(QUESTION.match_key)
    assert found.request.id == made.request.id
    assert (found.ordered, found.replaces) == (made.ordered, 7)
    assert (found.next_at, found.reason, found.attempts) == (LATER, "ca.pending", 0)
    assert await ledger.orders.counts() == {("ca", "waiting"): 1}
    await ledger.close()


async def test_one_process_takes_an_attempt(ledger, open_again):
    await brought_to(ledger, "parked")
    assert await ledger.orders.due(NOW, abandoned=NOW) == []
    [due] = await ledger.orders.due(LATER, abandoned=NOW)
    other = open_again()
    turns = [one.orders.take(due, until=LATER + LATER.resolution) for one in (ledger, other) * 3]
    assert sorted(await asyncio.gather(*turns)) == [False] * 5 + [True]
    await other.close()


async def test_one_poll_asks(ledger, open_again):
    made = await brought_to(ledger, "waiting")
    other = open_again()
    polls = [one.orders.ask(made.request.id, at=NOW) for one in (ledger, other) * 3]
    outcomes = await asyncio.gather(*polls, return_exceptions=True)
    assert rules(outcomes) == ["request.state"] * 5
    await other.close()


async def test_what_is_rejected_frees_its_key(ledger):
    made = await brought_to(ledger, "rejected")
    again = reservation(made.request.idempotency_key)
    await ledger.reserve(again, window_start=WINDOW)


async def keep(ledger, made, **fields):
    kept = certificate(made, status="presumed", **fields)
    return await ledger.orders.keep(kept, reason="issued.key: another", actor="server", at=NOW)


async def test_a_wrong_answer_is_kept_revoked_and_its_request_parked(ledger):
    made = await brought_to(ledger, "reserved")
    assert await keep(ledger, made)
    row = await ledger.certificate("ca", made.request.serial_number)
    assert (row.status, row.der, row.request_id) == ("revoked", b"der", made.request.id)
    assert (await ledger.request(made.request.id)).state == "parked"
    [event] = await ledger.revocations.events()
    assert (event.note, event.actor) == ("issued.key: another", "server")
    assert await ledger.orders.counts() == {("ca", "refused"): 1}
    assert await ledger.orders.due(LATER, abandoned=LATER) == [], "a person has to look"


async def test_a_second_certificate_of_one_request_is_found_too(ledger):
    made = await brought_to(ledger, "issued")
    other = made.request.serial_number + 1
    assert await keep(ledger, made, serial_number=other)
    row = await ledger.certificate("ca", other)
    copy = await ledger.request(row.request_id)
    assert (row.status, copy.state, copy.identity) == ("revoked", "rejected", "SN-1")
    assert (await ledger.request(made.request.id)).state == "issued"
    first = await ledger.certificate("ca", made.request.serial_number)
    assert first.status == "good", "nobody's certificate is touched"


async def test_a_certificate_that_is_known_stays_what_it_is(ledger):
    issued = await brought_to(ledger, "issued")
    made = await brought_to(ledger, "reserved")
    assert not await keep(ledger, made, serial_number=issued.request.serial_number)
    row = await ledger.certificate("ca", issued.request.serial_number)
    assert (row.status, row.request_id) == ("good", issued.request.id)
    assert (await ledger.request(made.request.id)).state == "parked"


async def test_a_cursor_moves_once(ledger, open_again):
    other = open_again()
    refusal = UpstreamRefusal("ca", 5, 3, "ca.unknown-certificate", NOW)
    moves = [
        one.upstream.advance("ca", seen=0, to=3, refusal=refusal) for one in (ledger, other) * 3
    ]
    assert sorted(await asyncio.gather(*moves)) == [False] * 5 + [True]
    assert await other.upstream.position("ca") == 3
    assert await other.upstream.refusals() == [refusal]
    await ledger.upstream.forget_refusal("ca", 5)
    assert await other.upstream.refusals() == []
    await other.close()


async def test_a_ticket_is_one_requests_until_it_is_rejected(ledger):
    first, second = await ordered(ledger), await ordered(ledger)
    await ledger.orders.prepare(first.request.id, ticket=TICKET, at=NOW)
    assert (await ledger.orders.get(first.request.id)).ticket == TICKET
    with pytest.raises(Conflict, match=r"order\.ticket"):
        await ledger.orders.prepare(second.request.id, ticket=TICKET, at=NOW)
    assert (await ledger.orders.get(second.request.id)).ticket is None
    await ledger.orders.reject(first.request.id, reason="ca.refused", at=NOW)
    await ledger.orders.prepare(second.request.id, ticket=TICKET, at=NOW)
    assert (await ledger.orders.get(first.request.id)).ticket is None

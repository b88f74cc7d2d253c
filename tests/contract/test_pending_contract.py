"""What every ledger promises of its review queue (est_server.ports.pending)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_world import (
    NOW,
    WINDOW,
    add_credential,
    any_key,
    certificate,
    issue,
    reservation,
    rules,
)
from pending_world import DAY, approved, claiming, review, state, wait, waiting

from est_server.errors import Conflict, NotFound
from est_server.ports.pending import OPEN, TRANSITIONS
from est_server.storage.tables import PENDING_OPEN

MOMENT = timedelta(microseconds=1)


@pytest.fixture
async def two(ledger, open_again):
    """One ledger as two processes have it."""
    other = open_again()
    yield ledger, other
    await other.close()


async def gather(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


def test_the_table_is_closed():
    states = {state for sources, target in TRANSITIONS.values() for state in (*sources, target)}
    assert states == {"waiting", "approved", "denied", "expired", "issuing", "issued"}
    ends = states - {state for sources, _ in TRANSITIONS.values() for state in sources}
    assert ends == states - OPEN == {"denied", "expired", "issued"}
    assert {f"'{state}'" for state in OPEN} == set(str(PENDING_OPEN)[10:-1].split(", "))


async def test_every_field_survives(ledger):
    record, decision = waiting(label="router", device_id=None, operation="simplereenroll")
    assert await ledger.pending.current(record.match_key) is None
    await ledger.pending.add(record, decision, most=1)
    assert await ledger.pending.get(record.id) == record
    assert await ledger.pending.current(record.match_key) == record
    assert await ledger.decisions(request_id=record.id) == [decision]
    assert await ledger.pending.get("r_unknown") is None


async def test_a_review_is_kept_with_who_when_and_why(ledger):
    record = await wait(ledger)
    at = NOW + timedelta(hours=5)
    found = await review(ledger, record, at=at, note="ünterwegs", digest="f" * 64)
    assert found == await ledger.pending.get(record.id)
    assert found == replace(
        record, state="approved", decided_by="os:alice", decided_at=at, note="ünterwegs",
        profile_digest="f" * 64, updated_at=at, expires_at=at + DAY,
    )  # fmt: skip
    later = at + timedelta(hours=1)
    denied = await review(ledger, record, "deny", at=later, note="no", by="os:bob", digest="")
    assert (denied.state, denied.decided_by, denied.note) == ("denied", "os:bob", "no")
    assert denied.expires_at == later + DAY


async def test_a_question_waits_once(ledger):
    record = await wait(ledger)
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await wait(ledger)
    await review(ledger, record)
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await wait(ledger)
    await review(ledger, record, "deny")
    again = await wait(ledger, created_at=NOW + DAY)
    assert (await ledger.pending.current(record.match_key)).id == again.id


@pytest.mark.parametrize(("past", "over"), [(-MOMENT, False), (0 * MOMENT, True)])
async def test_a_record_waits_until_it_expires(ledger, past, over):
    record = await wait(ledger)
    at = record.expires_at + past
    if over:
        with pytest.raises(Conflict, match=r"request\.state.*expired"):
            await review(ledger, record, at=at)
        await wait(ledger, created_at=at)
    else:
        with pytest.raises(Conflict, match=r"request\.duplicate"):
            await wait(ledger, created_at=at)
        await review(ledger, record, at=at)
    assert await state(ledger, record) == ("expired" if over else "approved")


async def test_expiry_takes_what_is_overdue_and_nothing_else(ledger):
    await ledger.reserve(claiming(await approved(ledger, match_key=b"i")), window_start=WINDOW)
    old = await wait(ledger, match_key=b"1")
    uncollected = await approved(ledger, match_key=b"2")
    denied = await review(ledger, await wait(ledger, match_key=b"3"), "deny")
    young = await wait(ledger, match_key=b"4", expires_at=NOW + DAY + MOMENT)
    assert await ledger.pending.expire(NOW + DAY) == 2
    assert await ledger.pending.expire(NOW + DAY) == 0
    found = {record.id: record.state for record in await ledger.pending.list()}
    assert found[old.id] == found[uncollected.id] == "expired"
    assert (found[denied.id], found[young.id]) == ("denied", "waiting")
    assert sorted(found.values())[-2:] == ["issuing", "waiting"]


async def test_what_is_over_is_not_reviewed(ledger):
    record = await wait(ledger)
    await review(ledger, record, "deny")
    for event in ("approve", "deny"):
        with pytest.raises(Conflict, match=r"request\.state.*denied"):
            await review(ledger, record, event)
    with pytest.raises(NotFound, match=r"request\.unknown"):
        await review(ledger, replace(record, id="r_0"))


async def test_an_identity_waits_with_so_many_requests_at_once(ledger):
    for number in range(3):
        await wait(ledger, match_key=bytes([number]), most=3)
    with pytest.raises(Conflict, match=r"approval\.too-many"):
        await wait(ledger, match_key=b"x", most=3)
    await wait(ledger, match_key=b"x", most=3, identity="SN-2")
    await review(ledger, await ledger.pending.current(b"\0"), "deny")
    await wait(ledger, match_key=b"x-", most=3)


async def test_an_approval_is_used_up_by_one_certificate(ledger):
    record = await approved(ledger)
    made = claiming(record)
    await issue(ledger, made)
    assert await state(ledger, record) == "issued"
    assert await ledger.pending.certificate(record.id) == certificate(made)
    assert (await ledger.pending.get(made.request.id)).id == record.id
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, claiming(record))
    assert len(await ledger.certificates()) == 1


@pytest.mark.parametrize("event", [None, "deny", "expire"])
async def test_without_an_approval_there_is_no_certificate(ledger, event):
    record = await wait(ledger)
    if event == "deny":
        await review(ledger, record, "deny")
    elif event == "expire":
        await ledger.pending.expire(record.expires_at)
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, claiming(record))
    assert await ledger.certificates() == []


async def test_who_comes_second_finds_a_duplicate_and_no_spent_credential(ledger):
    await add_credential(ledger, 1)
    record = await approved(ledger)
    await issue(ledger, claiming(record, credential="c_1"))
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, claiming(record, credential="c_1"))
    assert (await ledger.credential("user")).uses == 1


async def test_a_failed_reservation_leaves_the_approval(ledger):
    await add_credential(ledger, 0)
    record = await approved(ledger)
    with pytest.raises(Conflict, match=r"credential\.spent"):
        await issue(ledger, claiming(record, credential="c_1"))
    assert await state(ledger, record) == "approved"


@pytest.mark.parametrize("approval", [True, False])
async def test_a_ca_that_makes_nothing_gives_the_claim_back(ledger, approval):
    record = await (approved(ledger) if approval else wait(ledger))
    for end in ("settle", "presume"):
        made = claiming(record, approval=approval)
        await ledger.reserve(made, window_start=WINDOW)
        assert await state(ledger, record) == "issuing"
        if end == "settle":
            await ledger.settle(made.request.id, "rejected", reason="no", at=NOW)
        else:
            await ledger.presume(made.request.id, certificate(made, "presumed"))
        assert await state(ledger, record) == ("approved" if approval else "waiting")
    made = claiming(record, approval=approval)
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.record(made.request.id, certificate(made))
    assert await state(ledger, record) == "issued"


async def test_a_parked_request_keeps_its_claim_and_is_listed(ledger):
    record = await approved(ledger)
    made = claiming(record)
    await ledger.reserve(made, window_start=WINDOW)
    assert await ledger.pending.parked() == []
    await ledger.settle(made.request.id, "parked", reason="outcome unknown", at=NOW)
    assert await state(ledger, record) == "issuing"
    assert await ledger.pending.parked() == [
        (replace(made.request, state="parked"), "outcome unknown")
    ]
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await wait(ledger)


async def test_an_answer_without_review_answers_the_one_that_waits(ledger):
    record = await wait(ledger)
    await issue(ledger, claiming(record, approval=False, content=b"other"))
    assert await state(ledger, record) == "waiting"
    await issue(ledger, claiming(record, approval=False))
    assert await state(ledger, record) == "issued"
    await issue(ledger, claiming(record, approval=False))  # nothing waits: nothing to answer


async def test_the_queue_tells_its_length_and_age(ledger):
    assert await ledger.pending.queue() == type(await ledger.pending.queue())(0, None)
    for number in range(3):
        await wait(ledger, match_key=bytes([number]), created_at=NOW + number * DAY)
    await review(ledger, await ledger.pending.current(b"\0"))
    found = await ledger.pending.queue()
    assert (found.waiting, found.oldest) == (2, NOW + DAY)


async def test_lists_are_newest_first(ledger):
    made = [
        await wait(ledger, match_key=bytes([number]), created_at=NOW + number * timedelta(hours=1))
        for number in range(5)
    ]
    await review(ledger, made[0], "deny")
    await review(ledger, made[1])
    ids = [record.id for record in made]

    async def listed(**wanted):
        return [record.id for record in await ledger.pending.list(**wanted)]

    assert await listed() == ids[::-1]
    assert await listed(limit=2) == ids[:2:-1]
    assert await listed(open_only=True) == ids[:0:-1]
    assert await listed(state="approved") == [ids[1]]
    assert await listed(state="denied", open_only=True) == []


async def test_of_fifty_equal_questions_in_two_processes_one_waits(two):
    outcomes = await gather(*(wait(ledger) for ledger in two * 25))
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert rules(failures) == ["request.duplicate"] * 49
    assert len(await two[1].pending.list()) == 1


async def test_of_a_hundred_claims_in_two_processes_one_wins(two):
    record = await approved(two[0])
    outcomes = await gather(*(issue(ledger, claiming(record)) for ledger in two * 50))
    assert rules(outcomes) == ["request.duplicate"] * 99
    assert len(await two[1].certificates()) == 1


async def test_approval_and_denial_at_once_are_one_after_the_other(two):
    record = await wait(two[0])
    outcomes = await gather(
        *(review(ledger, record, event) for ledger in two for event in ("approve", "deny"))
    )
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    assert await state(two[1], record) == "denied"
    assert set(rules(failures)) == {"request.state"}
    assert len(failures) in {2, 3}


async def test_a_claim_and_a_denial_at_once_have_one_winner(two):
    for number in range(10):
        record = await approved(two[0], match_key=bytes([number]))
        outcomes = await gather(issue(two[0], claiming(record)), review(two[1], record, "deny"))
        won = await state(two[0], record)
        assert [isinstance(outcome, Conflict) for outcome in outcomes] == [
            won == "denied", won == "issued",
        ]  # fmt: skip
        assert (await two[0].pending.certificate(record.id) is None) == (won == "denied")


async def test_a_reservation_of_another_key_leaves_the_queue_alone(ledger):
    record = await wait(ledger)
    await issue(ledger, reservation(any_key()))
    assert await state(ledger, record) == "waiting"

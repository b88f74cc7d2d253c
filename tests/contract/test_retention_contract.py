"""What every ledger promises to forget, and to keep (est_server.ports.retention)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from audit_world import check, denial, extend, fill, leaves
from crl_world import HOUR, START, CrlWorld
from ledger_world import NOW, add_credential, any_key, issue, reservation

from est_server.ports.retention import Cutoffs, Forgotten
from est_server.ports.revocation import Revocation

DAY = timedelta(days=1)
LATER = NOW + 1000 * DAY


async def all_of(ledger, cutoffs, limit=3):
    total = Forgotten()
    while (some := await ledger.retention.forget(cutoffs, limit=limit)).total:
        total += some
    return total


async def ended(ledger, serial, days=1, **fields):
    made = reservation(any_key(), serial=serial)
    await issue(ledger, made, not_after=NOW + days * DAY, **fields)
    return made


async def test_what_ended_before_goes_with_all_that_is_about_it(ledger):
    old = await ended(ledger, 1)
    new = await ended(ledger, 2, days=50)
    cutoffs = Cutoffs(certificates=NOW + 10 * DAY)
    assert await ledger.retention.count(cutoffs) == Forgotten(certificates=1)
    assert await all_of(ledger, cutoffs) == Forgotten(certificates=1)
    assert await ledger.certificate("ca", 1) is None
    assert await ledger.request(old.request.id) is None
    assert await ledger.decisions(request_id=old.request.id) == []
    assert await ledger.certificate("ca", 2) is not None
    assert await ledger.request(new.request.id) is not None
    assert len(await ledger.decisions(request_id=new.request.id)) == 1
    assert await ledger.retention.count(cutoffs) == Forgotten()


async def test_nothing_goes_that_nobody_named(ledger):
    await ended(ledger, 1)
    await ledger.record_decision(denial(1))
    assert await all_of(ledger, Cutoffs()) == Forgotten()
    assert await all_of(ledger, Cutoffs(decisions=LATER)) == Forgotten(decisions=1)
    assert await ledger.certificate("ca", 1) is not None


async def test_a_request_under_way_stays(ledger):
    made = reservation(any_key())
    await ledger.reserve(made, window_start=NOW - DAY)
    await all_of(ledger, Cutoffs(LATER, LATER))
    assert await ledger.request(made.request.id) is not None
    assert len(await ledger.decisions(request_id=made.request.id)) == 1


async def test_a_request_that_was_rejected_goes_and_a_parked_one_stays(ledger):
    made = {}
    for state in ("rejected", "parked"):
        made[state] = reservation(any_key())
        await ledger.reserve(made[state], window_start=NOW - DAY)
        await ledger.settle(made[state].request.id, state, reason="no", at=NOW)
    found = await all_of(ledger, Cutoffs(decisions=LATER))
    assert (found.requests, found.decisions) == (1, 0)
    assert await ledger.request(made["rejected"].request.id) is None
    assert await ledger.request(made["parked"].request.id) is not None


async def test_credentials_that_are_no_use_go(ledger):
    await add_credential(ledger, 1, expires_at=NOW + DAY)
    await add_credential(ledger, 1, id="c_2", username="late", expires_at=NOW + 50 * DAY)
    await add_credential(ledger, None, id="c_3", username="revoked")
    await add_credential(ledger, None, id="c_4", username="good")
    await ledger.revoke_credential("revoked", at=NOW)
    found = await all_of(ledger, Cutoffs(decisions=NOW + 10 * DAY))
    assert found == Forgotten(credentials=2)
    assert sorted(one.username for one in await ledger.credentials()) == ["good", "late"]


async def test_a_credential_that_a_certificate_was_paid_with_stays_as_long(ledger):
    await add_credential(ledger, 1, expires_at=NOW + DAY)
    made = reservation(any_key(), credential="c_1")
    await issue(ledger, made, not_after=NOW + 50 * DAY)
    assert await all_of(ledger, Cutoffs(LATER - 960 * DAY, LATER)) == Forgotten()
    found = await all_of(ledger, Cutoffs(LATER, LATER))
    assert (found.certificates, found.credentials) == (1, 1)


async def test_a_compromised_key_stays_blocked_and_its_certificate_tells_why(ledger):
    made = await ended(ledger, 1)
    await ended(ledger, 2)
    await ended(ledger, 3)
    for serial, reason in ((1, "keyCompromise"), (2, "superseded"), (3, "superseded")):
        await ledger.revocations.revoke([Revocation("ca", serial, reason, NOW, "anna")])
    assert await all_of(ledger, Cutoffs(LATER)) == Forgotten(certificates=1)
    assert await ledger.revocations.key_blocked(made.request.spki_sha256)
    assert (await ledger.certificate("ca", 1)).revocation_reason == "keyCompromise"
    # the last event stays: numbers go on from there
    assert [one.sequence for one in await ledger.revocations.events()] == [1, 3]


@pytest.mark.parametrize("shards", [0, 2])
async def test_a_list_that_has_to_show_it_keeps_it(ledger, shards):
    world = CrlWorld(ledger, shards=shards)
    await world.publisher.start()
    shard = 1 if shards else 0
    await world.issue(1, shard=shard, not_after=START + 2 * HOUR)
    await world.issue(2, shard=shard)
    await world.revoke(1)
    await world.revoke(2)
    cutoffs = Cutoffs(certificates=START + 3 * HOUR)
    assert await all_of(ledger, cutoffs) == Forgotten()  # nothing was published yet
    await world.settle()
    assert 1 in {entry.serial_number for entry in world.crl().entries()}
    assert await all_of(ledger, cutoffs) == Forgotten()
    while 1 in {entry.serial_number for entry in world.crl(shard).entries()}:
        assert await all_of(ledger, cutoffs) == Forgotten()
        world.now += 5 * HOUR
        await world.settle()
    for _ in range(12):  # every list that has it ends
        world.now += 5 * HOUR
        await world.settle()
    assert await all_of(ledger, cutoffs) == Forgotten(certificates=1)
    world.now += 5 * HOUR
    await world.settle()
    assert {entry.serial_number for entry in world.crl(shard).entries()} == {2}


async def test_the_audit_log_says_of_each_row_that_it_was_removed(ledger):
    await fill(ledger)
    found = await all_of(ledger, Cutoffs(LATER, LATER), limit=2)
    assert found.certificates > 5
    assert found.decisions
    await extend(ledger)
    report = await check(ledger)
    assert report.findings == []
    removed = [row.table for leaf in await leaves(ledger) for row in leaf.rows if row.removed]
    assert removed.count("certificates") == found.certificates

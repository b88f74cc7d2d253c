"""The audit log: a leaf for each act, one order for all, checkpoints, proofs that check."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from audit_world import KEY, ORIGIN, check, extend, fill, leaves, signer
from ledger_world import NOW, any_key, issue, reservation

from est_server.audit.checkpoint import check_note, note_hash
from est_server.audit.tiles import TileName, range_root, tiles_of
from est_server.audit.tree import (
    Range,
    check_consistency,
    check_inclusion,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
)
from est_server.errors import BackendUnavailable, Conflict
from est_server.storage.audit import _keep, _place
from est_server.storage.audit_statements import GROW_TILE, TILE, WAITING

ACTS = """\
log-began            db upgrade  certificates credentials decisions device_keys devices \
pending_requests profile_texts requests revocation_events rollovers
device-added         est-server  devices devices
credential-added     est-server  credentials
credential-added     est-server  credentials
credential-revoked   est-server  credentials
profile-added        est-server  profile_texts
issued               SN-1        certificates decisions requests
issued               SN-1        certificates decisions requests
issued               SN-7        certificates decisions devices requests
issued               SN-20       certificates decisions requests
issued               SN-21       certificates decisions requests
issued               SN-22       certificates decisions requests
issued               SN-23       certificates decisions requests
decision-deny        est-server  decisions
decision-deny        est-server  decisions
request-reserved     SN-2        decisions requests
issued               SN-2        certificates requests
request-reserved     SN-2        decisions requests
request-rejected     est-server  requests
request-reserved     SN-2        decisions requests
request-parked       est-server  requests
request-reserved     SN-2        decisions requests
presumed             SN-2        certificates requests
review-waiting       SN-9        decisions pending_requests
review-approved      alice@pki   pending_requests
review-waiting       SN-9        decisions pending_requests
review-denied        alice@pki   pending_requests
issued               SN-9        certificates decisions pending_requests requests
certificate-revoked  alice@pki   certificates revocation_events
certificate-held     alice@pki   certificates revocation_events
certificate-held     alice@pki   certificates revocation_events
certificate-released bob@pki     certificates revocation_events
device-quarantined   est-server  devices
device-key-added     est-server  device_keys
device-key-added     est-server  device_keys
device-key-removed   est-server  device_keys
rollover-prepared    est-server  rollovers
rollover-published   est-server  rollovers
"""


async def test_every_act_has_one_leaf(ledger):
    await fill(ledger)
    found = "".join(
        f"{leaf.act:<20} {leaf.actor:<11} {' '.join(sorted(row.table for row in leaf.rows))}\n"
        for leaf in await leaves(ledger)
    )
    assert found == ACTS


async def test_nothing_is_wrong_with_what_was_done(ledger):
    await fill(ledger)
    waiting = await check(ledger)
    assert waiting.findings == []
    assert waiting.waiting == len(ACTS.splitlines())
    await extend(ledger)
    report = await check(ledger)
    assert report.findings == []
    assert (report.leaves, report.waiting) == (waiting.waiting, 0)
    assert report.rows > 40


async def test_what_fails_leaves_no_leaf(ledger):
    made = reservation(any_key())
    await issue(ledger, made)
    before = len(await leaves(ledger))
    with pytest.raises(Conflict):
        await issue(ledger, made)
    assert len(await leaves(ledger)) == before


async def test_a_revocation_leaf_is_the_whole_order(ledger):
    await fill(ledger)
    (leaf,) = [leaf for leaf in await leaves(ledger) if leaf.act == "certificate-revoked"]
    event, certificate = leaf.rows
    assert event.table == "revocation_events"
    assert event.plain["ca"] == "ca"
    assert int(event.plain["serial_number"], 16) > 0
    assert event.plain["reason"] == "keyCompromise"
    assert event.plain["revoked_at"] > event.plain["invalidity_date"]
    assert (event.plain["actor"], event.plain["note"]) == ("alice@pki", "stolen")
    assert certificate.plain["status"] == "revoked"


async def test_many_acts_in_one_transaction_have_leaves_of_their_own(ledger):
    from est_server.ports.ledger import Device

    await ledger.add_devices([Device(f"D-{number:04}", "p", NOW) for number in range(700)])
    found = [leaf for leaf in await leaves(ledger) if leaf.act == "device-added"]
    assert [len(leaf.rows) for leaf in found] == [256, 256, 188]
    assert (await check(ledger)).findings == []


async def test_leaves_get_their_places_in_order_and_are_signed(ledger):
    for number in range(300):
        await ledger.audit.note("test", {"number": str(number)}, at=NOW)
    first, second = await extend(ledger)
    one, two = (check_note(note, KEY.public_key()) for note in (first, second))
    assert (one.origin, one.size, two.size) == (ORIGIN, 256, 301)
    assert two.previous == note_hash(first)
    state = await ledger.audit.state()
    assert (state.size, state.waiting, state.newest) == (301, 0, second)
    found = await leaves(ledger)
    assert [leaf.rows[0].plain["number"] for leaf in found[1:]] == [str(n) for n in range(300)]
    assert await extend(ledger) == []


async def test_without_a_key_leaves_get_their_places_unsigned(ledger):
    await ledger.audit.note("test", {}, at=NOW)
    assert await ledger.audit.extend(None) == (2, None)
    state = await ledger.audit.state()
    assert (state.size, state.waiting, state.newest) == (2, 0, None)
    assert (await check(ledger, keys=())).findings == []
    assert [one.rule for one in (await check(ledger)).findings] == ["audit.checkpoint.none"]
    await ledger.audit.note("test", {}, at=NOW)
    await extend(ledger)  # a key came: what was unsigned is signed with it
    assert (await check(ledger)).findings == []


async def test_proofs_check_across_tiles(ledger):
    for number in range(600):
        await ledger.audit.note("test", {"number": str(number)}, at=NOW)
    notes = [check_note(note, KEY.public_key()) for note in await extend(ledger)]
    last = notes[-1]

    def look(reader):
        data = dict(reader.leaves(0, 1000))
        for index in (0, 1, 255, 256, 257, 511, 600):
            ranges = inclusion_ranges(index, last.size)
            proof = roots(reader, ranges)
            check_inclusion(leaf_hash(data[index]), index, last.size, proof, last.root)
        for one in notes:
            proof = roots(reader, consistency_ranges(one.size, last.size))
            check_consistency(one.size, one.root, last.size, last.root, proof)
        return roots(reader, [Range(0, last.size)])

    def roots(reader, ranges):
        tiles = reader.tiles(tiles_of(ranges))
        return [range_root(one, tiles) for one in ranges]

    assert await ledger.audit.at_one_moment(look) == [last.root]


async def test_several_sequencers_are_harmless(open_again):
    ledgers = [open_again() for _ in range(3)]

    async def work(ledger, name):
        for number in range(60):
            await ledger.audit.note("test", {"number": f"{name}{number}"}, at=NOW)
            with suppress(Conflict):
                await ledger.audit.extend(signer())

    await asyncio.gather(*(work(ledger, name) for ledger, name in zip(ledgers, "abc", strict=True)))
    await extend(ledgers[0])
    report = await check(ledgers[1])
    assert report.findings == []
    assert (report.leaves, report.waiting) == (181, 0)
    found = [leaf.rows[0].plain["number"] for leaf in (await leaves(ledgers[2]))[1:]]
    for name in "abc":  # each one's own are in its own order
        assert [one for one in found if one[0] == name] == [f"{name}{n}" for n in range(60)]
    for ledger in ledgers:
        await ledger.close()


async def test_subjects_find_leaves(ledger):
    await fill(ledger)
    await extend(ledger)
    found = await ledger.audit.places(["devices:SN-2", "credentials:c_2", "nothing:x"])
    acts = [(await leaves(ledger))[place].act for place in found]
    assert acts == ["credential-added", "credential-revoked", "device-quarantined"]


async def test_a_damaged_tree_stops_the_log_and_nothing_else(ledger):
    await ledger.audit.note("test", {}, at=NOW)
    await extend(ledger)
    await ledger.audit.writer.run(
        lambda db: db.change(
            GROW_TILE, {"of_level": 0, "of_place": 0, "seen": first(db), "grown": b""}
        )
    )
    await ledger.audit.note("test", {}, at=NOW)
    with pytest.raises(BackendUnavailable, match="damaged"):
        await extend(ledger)
    await issue(ledger, reservation(any_key()))
    assert (await ledger.audit.state()).waiting == 2


def first(db):
    return bytes(db.find(TILE, {"of_level": 0, "of_place": 0})[0])


async def test_a_leaf_gets_one_place(ledger):
    """What a sequencer that comes late would do: the database refuses, not only the lock."""
    await ledger.audit.note("test", {}, at=NOW)
    waiting = await ledger.audit.reads.all(WAITING, {"after": -1, "most": 10})
    await extend(ledger)
    for work in (
        lambda db: _place(db, waiting, 50),
        lambda db: _keep(db, TileName(0, 0), b"", b"x" * 32),
    ):
        with pytest.raises(Conflict) as caught:
            await ledger.audit.writer.run(work)
        assert caught.value.rule == "audit.sequenced"
    assert (await check(ledger)).findings == []

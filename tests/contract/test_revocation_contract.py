"""What every ledger promises of revocation (est_server.ports.revocation), over every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from ledger_world import NOW, WINDOW, any_key, certificate, issue, reservation, rules

from est_server.errors import Conflict, Malformed, NotFound
from est_server.ports.revocation import (
    Release,
    Revocation,
    RevocationEvent,
    RevocationReason,
    Selection,
)

SECOND = timedelta(seconds=1)
REASONS = get_args(RevocationReason)
FINAL = [reason for reason in REASONS if reason != "certificateHold"]


def order(serial=1, reason: Any = "superseded", *, at=NOW, **fields):
    return Revocation("ca", serial, reason, at, "anna", **fields)


def unhold(serial=1, *, at=NOW, **fields):
    return Release("ca", serial, at, "anna", **fields)


async def issued(ledger, serial=1, **fields):
    made = reservation(any_key(), serial=serial, **fields.pop("request", {}))
    await issue(ledger, made, **fields)
    return made


# -- one certificate -------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS)
async def test_a_revocation_changes_the_certificate_and_tells_everybody(ledger, reason):
    await issued(ledger)
    invalid = NOW - 3 * SECOND
    done = await ledger.revocations.revoke(
        [order(reason=reason, invalidity_date=invalid, note="späť")]
    )
    action = "held" if reason == "certificateHold" else "revoked"
    event = RevocationEvent(1, "ca", 1, action, reason, NOW, invalid, NOW, "anna", "späť")
    assert done == [event]
    assert await ledger.revocations.events() == [event]
    assert await ledger.revocations.last_event() == event
    found = await ledger.certificate("ca", 1)
    assert (found.status, found.revocation_reason) == (action, reason)
    assert (found.revoked_at, found.invalidity_date) == (NOW, invalid)


async def test_nothing_was_revoked_yet(ledger):
    assert await ledger.revocations.last_event() is None
    assert await ledger.revocations.events() == []
    assert not await ledger.revocations.key_blocked(b"s" * 32)
    assert await ledger.revocations.revoke([]) == await ledger.revocations.release([]) == []


async def test_an_expired_certificate_and_a_presumed_one_are_revoked(ledger):
    await issued(ledger, 1, not_after=NOW - timedelta(900))
    made = reservation(any_key(), serial=2)
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.presume(made.request.id, certificate(made, "presumed", der=None))
    await ledger.revocations.revoke([order(1), order(2)])
    assert {found.status for found in await ledger.certificates()} == {"revoked"}


@pytest.mark.parametrize("first", FINAL)
@pytest.mark.parametrize("second", REASONS)
async def test_only_key_compromise_replaces_another_reason(ledger, first, second):
    await issued(ledger)
    await ledger.revocations.revoke([order(reason=first)])
    again = order(reason=second, at=NOW + SECOND, invalidity_date=NOW - SECOND)
    if second == "keyCompromise" and first != second:
        (event,) = await ledger.revocations.revoke([again])
        assert (event.reason, event.revoked_at, event.at) == (second, NOW, NOW + SECOND)
        assert (await ledger.certificate("ca", 1)).revoked_at == NOW, "the date never moves later"
        return
    with pytest.raises(Conflict, match=r"revocation\.revoked"):
        await ledger.revocations.revoke([again])
    assert (await ledger.revocations.last_event()).sequence == 1
    assert (await ledger.certificate("ca", 1)).revocation_reason == first


@pytest.mark.parametrize("reason", FINAL)
async def test_a_hold_ends_in_a_revocation_that_keeps_its_date(ledger, reason):
    await issued(ledger)
    await ledger.revocations.revoke([order(reason="certificateHold")])
    (event,) = await ledger.revocations.revoke([order(reason=reason, at=NOW + SECOND)])
    assert (event.action, event.reason, event.revoked_at) == ("revoked", reason, NOW)
    with pytest.raises(Conflict, match=r"revocation\.not-held"):
        await ledger.revocations.release([unhold()])


async def test_a_hold_ends_in_a_release_as_often_as_one_likes(ledger):
    await issued(ledger)
    for turn in range(3):
        now = NOW + turn * SECOND
        (held,) = await ledger.revocations.revoke([order(reason="certificateHold", at=now)])
        assert held.revoked_at == now, "a new hold has a date of its own"
        with pytest.raises(Conflict, match=r"revocation\.held"):
            await ledger.revocations.revoke([order(reason="certificateHold", at=now)])
        (free,) = await ledger.revocations.release([unhold(at=now, note="found")])
        assert (free.action, free.reason, free.revoked_at, free.note) == (
            "released", None, None, "found",
        )  # fmt: skip
        found = await ledger.certificate("ca", 1)
        assert (found.status, found.revoked_at, found.revocation_reason) == ("good", None, None)
        assert found.invalidity_date is None
    events = await ledger.revocations.events()
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]


async def test_a_presumed_certificate_is_presumed_again_after_its_hold(ledger):
    made = reservation(any_key(), serial=1)
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.presume(made.request.id, certificate(made, "presumed", der=None))
    await ledger.revocations.revoke([order(reason="certificateHold")])
    await ledger.revocations.release([unhold()])
    assert (await ledger.certificate("ca", 1)).status == "presumed"


@pytest.mark.parametrize("status", ["good", "revoked"])
async def test_only_what_is_held_is_released(ledger, status):
    await issued(ledger)
    if status == "revoked":
        await ledger.revocations.revoke([order()])
    with pytest.raises(Conflict, match=r"revocation\.not-held"):
        await ledger.revocations.release([unhold()])
    with pytest.raises(NotFound, match=r"certificate\.unknown"):
        await ledger.revocations.release([unhold(2)])


async def test_an_invalidity_date_is_not_after_the_revocation(ledger):
    await issued(ledger)
    with pytest.raises(Malformed, match=r"revocation\.invalidity-date"):
        await ledger.revocations.revoke([order(invalidity_date=NOW + SECOND)])
    await ledger.revocations.revoke([order(reason="certificateHold", invalidity_date=NOW)])
    late = order(at=NOW + 2 * SECOND, invalidity_date=NOW + SECOND)
    with pytest.raises(Malformed, match=r"revocation\.invalidity-date"):
        await ledger.revocations.revoke([late])
    (event,) = await ledger.revocations.revoke([replace(late, invalidity_date=None)])
    assert event.invalidity_date == NOW, "what was known stays known"


async def test_the_date_follows_a_clock_that_went_back(ledger):
    await issued(ledger)
    await ledger.revocations.revoke([order(reason="certificateHold")])
    (event,) = await ledger.revocations.revoke([order(at=NOW - SECOND)])
    assert event.revoked_at == NOW - SECOND


# -- many ------------------------------------------------------------------------------------------


async def test_orders_are_done_all_or_none(ledger):
    for serial in (1, 2, 3):
        await issued(ledger, serial)
    await ledger.revocations.revoke([order(2)])
    for bad in (order(2), order(9)):
        with pytest.raises((Conflict, NotFound)):
            await ledger.revocations.revoke([order(1), bad, order(3)])
    with pytest.raises(Conflict, match=r"revocation\.revoked"):
        await ledger.revocations.revoke([order(1), order(1)])
    assert (await ledger.certificate("ca", 1)).status == "good"
    assert (await ledger.revocations.last_event()).sequence == 1
    assert not await ledger.revocations.key_blocked(b"s" * 32)


async def test_events_come_in_pages_and_by_serial_number(ledger):
    for serial in range(1, 6):
        await issued(ledger, serial)
    await ledger.revocations.revoke([order(serial, "certificateHold") for serial in range(1, 6)])
    await ledger.revocations.release([unhold(3)])
    seen, after = [], 0
    while page := await ledger.revocations.events(after=after, limit=2):
        assert len(page) <= 2
        seen += page
        after = page[-1].sequence
    assert [event.sequence for event in seen] == [1, 2, 3, 4, 5, 6]
    assert [event.serial_number for event in seen] == [1, 2, 3, 4, 5, 3]
    found = await ledger.revocations.events(serial_number=3)
    assert [event.action for event in found] == ["held", "released"]
    assert await ledger.revocations.events(after=6) == []


async def test_numbers_of_two_processes_and_of_all_cas_are_one_sequence(ledger, open_again):
    other = open_again()
    for serial in range(1, 41):
        await issued(ledger, serial, request={"ca": f"ca{serial % 3}"})
    try:
        done = await asyncio.gather(
            *(
                (ledger, other)[serial % 2].revocations.revoke(
                    [replace(order(serial), ca=f"ca{serial % 3}")]
                )
                for serial in range(1, 41)
            )
        )
    finally:
        await other.close()
    sequences = sorted(event.sequence for (event,) in done)
    assert sequences == list(range(1, 41))


async def test_two_processes_revoke_a_certificate_once(ledger, open_again):
    other = open_again()
    await issued(ledger)
    outcomes = await asyncio.gather(
        *(one.revocations.revoke([order()]) for one in (ledger, other) * 5), return_exceptions=True
    )
    await other.close()
    failures = [found for found in outcomes if isinstance(found, Exception)]
    assert rules(failures) == ["revocation.revoked"] * 9
    assert len(await ledger.revocations.events()) == 1


# -- what is refused from then on ------------------------------------------------------------------


@pytest.mark.parametrize("reason", REASONS)
async def test_a_compromised_key_gets_no_certificate_any_more(ledger, reason):
    await issued(ledger)
    await ledger.revocations.revoke([order(reason=reason)])
    blocked = reason == "keyCompromise"
    assert await ledger.revocations.key_blocked(b"s" * 32) is blocked
    assert not await ledger.revocations.key_blocked(b"t" * 32)
    if blocked:
        with pytest.raises(Conflict, match=r"key\.compromised"):
            await issued(ledger, 2)
        with pytest.raises(Conflict, match=r"key\.compromised"):
            await ledger.reserve(reservation(any_key()), window_start=WINDOW)
        await issued(ledger, 2, request={"spki_sha256": b"t" * 32})
    else:
        await issued(ledger, 2)


async def test_a_key_may_be_compromised_in_two_certificates(ledger):
    for serial in (1, 2):
        await issued(ledger, serial)
    await ledger.revocations.revoke([order(serial, "keyCompromise") for serial in (1, 2)])
    assert await ledger.revocations.key_blocked(b"s" * 32)


@pytest.mark.parametrize(
    ("reason", "rule"), [("superseded", "revoked"), ("certificateHold", "held")]
)
async def test_a_renewal_loses_against_a_revocation_that_came_first(ledger, reason, rule):
    await issued(ledger)
    renewing = replace(reservation(any_key(), serial=2), renews=("ca", 1))
    await ledger.revocations.revoke([order(reason=reason)])
    with pytest.raises(Conflict, match=rf"certificate\.{rule}"):
        await issue(ledger, renewing)
    with pytest.raises(Conflict, match=rf"certificate\.{rule}"):
        await ledger.reserve(renewing, window_start=WINDOW)
    assert await ledger.certificate("ca", 2) is None
    if rule == "held":
        await ledger.revocations.release([unhold()])
        await issue(ledger, renewing)


# -- selections ------------------------------------------------------------------------------------


async def test_a_selection_matches_all_that_is_given(ledger):
    await issued(ledger, 1, request={"device": "SN-1", "profile": "p"})
    await issued(ledger, 2, request={"device": "SN-2", "profile": "p", "at": NOW + SECOND})
    await issued(ledger, 3, request={"device": "SN-2", "profile": "q", "at": NOW + 2 * SECOND})
    await issued(ledger, 4, request={"device": "SN-1", "profile": "p", "at": NOW + 3 * SECOND})
    await ledger.revocations.revoke([order(2, "certificateHold"), order(4)])

    async def chosen(**fields):
        selection = Selection(**fields)
        found = await ledger.revocations.selected(selection)
        assert await ledger.revocations.count_selected(selection) == len(found)
        return [one.serial_number for one in found]

    assert await chosen(may="revoke") == [3, 2, 1]
    assert await chosen(may="hold") == [3, 1]
    assert await chosen(may="release") == [2]
    assert await chosen(may="revoke", device_id="SN-2") == [3, 2]
    assert await chosen(may="revoke", profile="p") == [2, 1]
    assert await chosen(may="release", profile="q") == []
    assert await chosen(may="revoke", issued_from=NOW + SECOND) == [3, 2]
    assert await chosen(may="revoke", issued_before=NOW + SECOND) == [1]
    first = await ledger.revocations.selected(Selection("revoke"), limit=2)
    last = (first[-1].issued_at, first[-1].serial_number)
    rest = await ledger.revocations.selected(Selection("revoke"), limit=2, after=last)
    assert [one.serial_number for one in (*first, *rest)] == [3, 2, 1]

"""What every ledger promises (est_server.ports.ledger), over every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from ledger_world import (
    NOW,
    WINDOW,
    add_credential,
    any_key,
    certificate,
    issue,
    reservation,
)

from est_server.errors import Conflict, Malformed, NotFound
from est_server.ports.ledger import Credential, Device, NodeStatus

SECOND = timedelta(seconds=1)


# -- one enrollment --------------------------------------------------------------------------------


async def test_a_certificate_comes_back_as_it_went_in(ledger):
    made = reservation(serial=(1 << 159) - 1)
    await issue(ledger, made)
    found = await ledger.certificate("ca", (1 << 159) - 1)
    assert found == certificate(made)
    assert await ledger.issued(b"k" * 32, since=WINDOW) == found
    assert (await ledger.decisions(identity="SN-1"))[0] == made.decision


async def test_every_field_of_every_record_survives(ledger):
    await add_credential(
        ledger, 5, device_id="SN-9", uses=2, expires_at=NOW + SECOND, verifier="scrypt$x"
    )
    made = reservation(credential="c_1", label="router", operation="simplereenroll", plan='{"a":1}')
    decision = replace(
        made.decision, label="router", rule="x.y", trace='{"ü": "\U0001f512"}', ca="ca",
        serial_number=1 << 159, verdict="pending", message="später",
    )  # fmt: skip
    made = replace(made, decision=decision)
    record = certificate(
        made, der=None, replaces=(1 << 160) - 1, revoked_at=NOW + SECOND,
        revocation_reason="keyCompromise", status="revoked", device_id=None,
    )  # fmt: skip
    await ledger.reserve(made, window_start=WINDOW)
    assert await ledger.request(made.request.id) == made.request
    assert await ledger.request_by_key(made.request.idempotency_key) == made.request
    await ledger.record(made.request.id, record)
    assert await ledger.certificate("ca", record.serial_number) == record
    assert await ledger.decisions(decision_id=decision.id) == [decision]
    assert await ledger.credential("user") == Credential(
        "c_1", "user", "scrypt$x", "p", NOW, "SN-9", 5, 3, NOW + SECOND
    )


async def test_what_is_not_there_is_none(ledger):
    assert await ledger.certificate("ca", 1) is None
    assert await ledger.request("r") is None
    assert await ledger.request_by_key(b"k") is None
    assert await ledger.issued(b"k", since=WINDOW) is None
    assert await ledger.device("d") is None
    assert await ledger.credential("u") is None
    assert await ledger.profile_text("x") is None
    assert await ledger.certificates() == await ledger.decisions() == await ledger.nodes() == []


async def test_the_twin_that_took_the_last_use_is_a_duplicate_and_no_spent_credential(ledger):
    await add_credential(ledger, 1)
    await issue(ledger, reservation(credential="c_1"))
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, reservation(credential="c_1"))


async def test_who_has_more_certificates_than_was_known_is_overtaken(ledger):
    second = NOW + SECOND
    await issue(ledger, reservation(any_key()))
    await issue(ledger, reservation(any_key()), status="revoked")
    await issue(ledger, reservation(any_key()), not_after=second)
    await issue(ledger, reservation(any_key(), profile="q"))
    await issue(ledger, reservation(any_key(), device="SN-2"))
    late = reservation(any_key(), at=second, others=0)
    with pytest.raises(Conflict, match=r"request\.overtaken"):
        await issue(ledger, late)
    await issue(ledger, replace(late, others=1))
    await ledger.reserve(reservation(any_key(), at=second, others=2), window_start=WINDOW)
    with pytest.raises(Conflict, match=r"request\.overtaken"):  # one is under way
        await issue(ledger, reservation(any_key(), at=second, others=2))
    assert len(await ledger.certificates()) == 6


async def test_a_duplicate_spends_no_use(ledger):
    await add_credential(ledger, 2)
    await issue(ledger, reservation(credential="c_1"))
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, reservation(credential="c_1"))
    assert (await ledger.credential("user")).uses == 1


async def test_a_revoked_credential_pays_nothing(ledger):
    await add_credential(ledger, None)
    await ledger.revoke_credential("user", at=NOW)
    with pytest.raises(Conflict, match=r"credential\.spent"):
        await ledger.reserve(reservation(credential="c_1"), window_start=WINDOW)
    assert await ledger.unsettled() == []


async def test_an_unlimited_credential_counts_its_uses(ledger):
    await add_credential(ledger, None)
    for _ in range(3):
        await issue(ledger, reservation(any_key(), credential="c_1"))
    assert (await ledger.credential("user")).uses == 3


async def test_a_key_older_than_the_window_is_free_again(ledger):
    old = reservation(at=WINDOW - timedelta(microseconds=1))
    await issue(ledger, old)
    await issue(ledger, reservation())
    assert len(await ledger.certificates()) == 2
    assert (await ledger.request(old.request.id)).idempotency_key == b""


async def test_a_key_as_old_as_the_window_is_held(ledger):
    await issue(ledger, reservation(at=WINDOW))
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, reservation())


async def test_a_refused_reservation_leaves_an_old_key_where_it_is(ledger):
    await add_credential(ledger, 0)
    old = reservation(at=WINDOW - SECOND)
    await issue(ledger, old)
    with pytest.raises(Conflict, match=r"credential\.spent"):
        await issue(ledger, reservation(credential="c_1"))
    assert (await ledger.request_by_key(b"k" * 32)).id == old.request.id


async def test_issued_looks_back_as_far_as_asked(ledger):
    made = reservation()
    await issue(ledger, made, status="revoked")
    assert (await ledger.issued(b"k" * 32, since=NOW)).status == "revoked"
    assert await ledger.issued(b"k" * 32, since=NOW + timedelta(microseconds=1)) is None


async def test_reserve_then_record(ledger):
    made = reservation()
    await ledger.reserve(made, window_start=WINDOW)
    assert await ledger.unsettled() == [made.request]
    assert await ledger.issued(b"k" * 32, since=WINDOW) is None
    await ledger.record(made.request.id, certificate(made))
    assert await ledger.unsettled() == []
    assert (await ledger.request(made.request.id)).state == "issued"
    with pytest.raises(Conflict, match=r"request\.state"):
        await ledger.record(made.request.id, certificate(made))


async def test_unsettled_requests_come_oldest_first(ledger):
    made = [reservation(any_key(), at=NOW + n * SECOND) for n in (2, 0, 1)]
    for one in made:
        await ledger.reserve(one, window_start=WINDOW)
    found = [request.id for request in await ledger.unsettled()]
    assert found == [made[n].request.id for n in (1, 2, 0)]


@pytest.mark.parametrize("end", ["settle", "presume", "record"])
async def test_only_a_reserved_request_ends(ledger, end):
    async def attempt(made):
        if end == "settle":
            await ledger.settle(made.request.id, "rejected", reason="no", at=NOW)
        elif end == "presume":
            await ledger.presume(made.request.id, certificate(made, "presumed"))
        else:
            await ledger.record(made.request.id, certificate(made))

    issued, parked, unknown = (reservation(any_key()) for _ in range(3))
    await issue(ledger, issued)
    await ledger.reserve(parked, window_start=WINDOW)
    await ledger.settle(parked.request.id, "parked", reason="unknown", at=NOW)
    for made in (issued, parked, unknown):
        with pytest.raises(Conflict, match=r"request\.state"):
            await attempt(made)
    assert (await ledger.request(issued.request.id)).state == "issued"
    assert (await ledger.request(parked.request.id)).state == "parked"


async def test_a_rejected_request_gives_key_and_use_back(ledger):
    await add_credential(ledger, 1)
    made = reservation(credential="c_1")
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.settle(made.request.id, "rejected", reason="no", at=NOW + SECOND)
    assert (await ledger.credential("user")).uses == 0
    assert (await ledger.request(made.request.id)).updated_at == NOW + SECOND
    await issue(ledger, reservation(credential="c_1"))


async def test_a_parked_request_keeps_key_and_use(ledger):
    await add_credential(ledger, 2)
    made = reservation(credential="c_1")
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.settle(made.request.id, "parked", reason="unknown", at=NOW)
    assert (await ledger.credential("user")).uses == 1
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await ledger.reserve(reservation(), window_start=WINDOW)


async def test_presumed_certificates_are_found_and_free_the_request(ledger):
    await add_credential(ledger, 1)
    made = reservation(credential="c_1")
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.presume(made.request.id, certificate(made, "presumed", der=None))
    assert [found.status for found in await ledger.certificates(status="presumed")] == ["presumed"]
    assert (await ledger.request(made.request.id)).state == "rejected"
    await issue(ledger, reservation(credential="c_1"))


# -- serial numbers --------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["issued", "reserved", "parked", "presumed"])
@pytest.mark.parametrize("second", ["reserve", "reserve_and_record"])
async def test_a_serial_number_of_a_ca_is_used_once(ledger, first, second):
    """RFC 5280 4.1.2.2. What is reserved may exist as well; whoever signs first keeps it."""
    made, again = (reservation(any_key(), serial=7) for _ in range(2))
    if first == "issued":
        await issue(ledger, made)
    else:
        await ledger.reserve(made, window_start=WINDOW)
        if first == "parked":
            await ledger.settle(made.request.id, "parked", reason="unknown", at=NOW)
        if first == "presumed":
            await ledger.presume(made.request.id, certificate(made, "presumed"))
    if second == "reserve":
        with pytest.raises(Conflict, match=r"serial\.duplicate"):
            await ledger.reserve(again, window_start=WINDOW)
    elif first in {"issued", "presumed"}:
        with pytest.raises(Conflict, match=r"serial\.duplicate"):
            await issue(ledger, again)
        assert await ledger.request(again.request.id) is None, "its request went with it"
    else:
        await issue(ledger, again)
        if first == "reserved":
            with pytest.raises(Conflict, match=r"serial\.duplicate"):
                await ledger.record(made.request.id, certificate(made))


async def test_another_ca_may_have_the_same_serial_number(ledger):
    for ca in ("a", "b"):
        await issue(ledger, reservation(any_key(), serial=7, ca=ca))
    assert {found.ca for found in await ledger.certificates(serial_number=7)} == {"a", "b"}


@pytest.mark.parametrize("serial", [1, 255, (1 << 64) - 1, 1 << 64, (1 << 160) - 1])
async def test_serial_numbers_round_trip(ledger, serial):
    made = reservation(serial=serial)
    await issue(ledger, made)
    assert (await ledger.certificate("ca", serial)).serial_number == serial
    assert (await ledger.request(made.request.id)).serial_number == serial
    assert [c.serial_number for c in await ledger.certificates(serial_number=serial)] == [serial]


@pytest.mark.parametrize("serial", [-1, 1 << 160])
async def test_a_serial_number_that_no_certificate_has_is_refused(ledger, serial):
    with pytest.raises(Malformed, match=r"ledger\.value"):
        await issue(ledger, reservation(serial=serial))
    assert await ledger.certificate("ca", serial) is None
    assert await ledger.certificates(serial_number=serial) == []


# -- values ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time",
    [
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2038, 1, 19, 3, 14, 8, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),  # RFC 5280 4.1.2.5: no end
    ],
)
async def test_times_are_exact(ledger, time):
    made = reservation()
    await issue(ledger, made, not_before=time, not_after=time)
    found = await ledger.certificate("ca", made.request.serial_number)
    assert found.not_before == found.not_after == time


async def test_times_of_other_zones_come_back_in_utc(ledger):
    time = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    await ledger.add_devices([Device("a", "p", time)])
    found = (await ledger.device("a")).created_at
    assert found == time
    assert found.utcoffset() == timedelta(0)


@pytest.mark.parametrize("name", ["", "'; DROP TABLE devices; --", "ü\U0001f512", "x" * 2000])
async def test_text_is_kept_exactly(ledger, name):
    await ledger.add_devices([Device(name, "p", NOW, attributes={name: name})])
    assert await ledger.device(name) == Device(name, "p", NOW, attributes={name: name})
    assert await ledger.device(name + "\0") is None


@pytest.mark.parametrize("name", ["a\0b", "x" * 10**6])
async def test_text_that_not_every_database_takes_is_kept_exactly_or_refused(ledger, name):
    """PostgreSQL has no U+0000, and its indexes hold no text of more than some 2,700 octets."""
    made = Device(name, "p", NOW, attributes={name: name})
    (refused,) = await asyncio.gather(ledger.add_devices([made]), return_exceptions=True)
    assert refused is None or (type(refused), refused.rule) == (Malformed, "ledger.value")
    assert await ledger.device(name) == (made if refused is None else None)
    await ledger.add_devices([Device("next", "p", NOW)])


async def test_text_that_is_no_unicode_is_refused_and_not_found(ledger):
    lone = "\udc80"
    with pytest.raises(Malformed, match=r"ledger\.value"):
        await ledger.add_devices([Device(lone, "p", NOW)])
    with pytest.raises(Malformed, match=r"ledger\.value"):
        await ledger.add_devices([Device("a", "p", NOW, attributes={"x": lone})])
    assert await ledger.credential(lone) is None
    assert await ledger.devices(profile=lone) == []


# -- listings --------------------------------------------------------------------------------------


async def test_certificates_page_by_time_and_serial(ledger):
    made = [
        reservation(any_key(), at=NOW + timedelta(microseconds=index // 3)) for index in range(7)
    ]
    for one in made:
        await issue(ledger, one)
    expected = sorted(((m.request.created_at, m.request.serial_number) for m in made), reverse=True)
    pages, after = [], None
    while page := await ledger.certificates(limit=2, after=after):
        assert len(page) <= 2
        pages.extend((found.issued_at, found.serial_number) for found in page)
        after = pages[-1]
    assert pages == expected


async def test_certificates_match_every_filter(ledger):
    common = {"device": "SN-2", "profile": "q"}
    wanted = reservation(any_key(), **common)
    others = [
        reservation(any_key(), device="SN-3", profile="q"),
        reservation(any_key(), device="SN-2", profile="r"),
    ]
    for made in (wanted, *others):
        await issue(ledger, made, status="revoked", not_after=NOW)
    good, later = reservation(any_key(), **common), reservation(any_key(), **common)
    await issue(ledger, good, not_after=NOW)
    await issue(ledger, later, status="revoked", not_after=NOW + SECOND)
    found = await ledger.certificates(
        device_id="SN-2", profile="q", status="revoked", expires_before=NOW + SECOND
    )
    assert [one.request_id for one in found] == [wanted.request.id]
    assert len(await ledger.certificates(status="good")) == 1
    assert len(await ledger.certificates(status="revoked")) == 4
    assert len(await ledger.certificates(profile="q")) == 4
    assert len(await ledger.certificates(device_id="SN-2")) == 4
    assert len(await ledger.certificates(identity="SN-2")) == 4
    assert await ledger.certificates(identity="sn-2") == []
    assert await ledger.certificates(subject="CN=SN") == []
    assert len(await ledger.certificates(subject="CN=SN-1")) == 5
    assert len(await ledger.certificates(expires_before=NOW + SECOND)) == 4


async def test_devices_page_by_id(ledger):
    devices = [
        Device(f"d{n}", "p" if n % 2 else "q", NOW, "active" if n < 4 else "retired")
        for n in range(6)
    ]
    await ledger.add_devices(list(reversed(devices)))
    assert await ledger.devices(limit=2) == devices[:2]
    assert await ledger.devices(limit=2, after="d1") == devices[2:4]
    assert await ledger.devices(profile="q", state="retired") == [devices[4]]
    assert [d.id for d in await ledger.devices(state="active")] == ["d0", "d1", "d2", "d3"]
    assert await ledger.devices(after="d5") == []


async def test_credentials_page_by_user_name_then_id(ledger):
    for index, user in enumerate(("b", "a", "b", "c")):
        await add_credential(ledger, 1, id=f"c_{index}", username=user)
        if index == 0:
            await ledger.revoke_credential("b", at=NOW)
    found = await ledger.credentials()
    assert [one.id for one in found] == ["c_1", "c_0", "c_2", "c_3"]
    assert found[1].revoked_at == NOW
    assert [one.id for one in await ledger.credentials(limit=2, after="c_1")] == ["c_0", "c_2"]
    assert await ledger.credentials(profile="other") == []


async def test_decisions_come_newest_first_and_match_every_filter(ledger):
    base = reservation().decision
    made = [
        replace(base, id=f"d_{n}", request_id=f"r_{n // 2}", identity=f"i_{n % 2}", device_id=None)
        for n in range(4)
    ]
    for decision in made:
        await ledger.record_decision(decision)
    assert await ledger.decisions() == made[::-1]
    assert await ledger.decisions(limit=1) == [made[3]]
    assert await ledger.decisions(request_id="r_1", identity="i_0") == [made[2]]
    assert await ledger.decisions(device_id="SN-1") == []


# -- devices and credentials -----------------------------------------------------------------------


async def test_first_enrollment_registers_once(ledger):
    device = Device("SN-1", "p", NOW)
    for _ in range(2):
        await issue(ledger, reservation(any_key(), register=device))
    assert await ledger.devices() == [device]


async def test_registering_leaves_a_known_device_as_it_is(ledger):
    await ledger.add_devices([Device("SN-1", "p", NOW, "quarantined", {"site": "a"})])
    await issue(ledger, reservation(register=Device("SN-1", "q", NOW)))
    assert await ledger.devices() == [Device("SN-1", "p", NOW, "quarantined", {"site": "a"})]


async def test_devices_are_added_all_or_none(ledger):
    await ledger.add_devices([Device("b", "p", NOW, attributes={"site": "Bern ☃"})])
    with pytest.raises(Conflict, match=r"device\.exists: device b exists"):
        await ledger.add_devices([Device("a", "p", NOW), Device("b", "p", NOW)])
    assert [device.id for device in await ledger.devices()] == ["b"]
    assert (await ledger.device("b")).attributes == {"site": "Bern ☃"}


async def test_device_states_move_only_from_where_they_may(ledger):
    await ledger.add_devices([Device("a", "p", NOW)])
    await ledger.set_device_state("a", "quarantined", expected=("active",), at=NOW)
    with pytest.raises(Conflict, match=r"device\.state"):
        await ledger.set_device_state("a", "retired", expected=("active",), at=NOW)
    assert (await ledger.device("a")).state == "quarantined"
    with pytest.raises(NotFound, match=r"device\.unknown"):
        await ledger.set_device_state("x", "retired", expected=("active",), at=NOW)


async def test_a_user_name_has_one_live_credential(ledger):
    await add_credential(ledger, 1)
    with pytest.raises(Conflict, match=r"credential\.exists"):
        await add_credential(ledger, 1, id="c_2")
    await ledger.revoke_credential("user", at=NOW)
    assert await ledger.credential("user") is None
    again = Credential("c_2", "user", "v", "p", NOW)
    await ledger.add_credential(again)
    assert await ledger.credential("user") == again
    assert len(await ledger.credentials()) == 2


async def test_only_a_live_credential_is_revoked(ledger):
    await add_credential(ledger, 1)
    await ledger.revoke_credential("user", at=NOW)
    with pytest.raises(NotFound, match=r"credential\.unknown"):
        await ledger.revoke_credential("user", at=NOW + SECOND)
    assert (await ledger.credentials())[0].revoked_at == NOW


# -- configuration, nodes, the store ---------------------------------------------------------------


async def test_profile_texts_are_kept_by_digest(ledger):
    await ledger.remember_profiles({"d1": ("p", "one")}, at=NOW)
    await ledger.remember_profiles({"d1": ("p", "two"), "d2": ("p", "two")}, at=NOW)
    assert await ledger.profile_text("d1") == ("p", "one")
    assert await ledger.profile_text("d2") == ("p", "two")


async def test_nodes_report_replace_and_end(ledger):
    first = NodeStatus("n_1", 1, "host", NOW, NOW, "digest", 0, None)
    second = NodeStatus("n_2", 2, "host", NOW + SECOND, NOW, "digest", 3, "broken")
    for status in (second, first, replace(first, seen_at=NOW + SECOND)):
        await ledger.report_node(status)
    assert await ledger.nodes() == [replace(first, seen_at=NOW + SECOND), second]
    await ledger.forget_node("n_1")
    await ledger.forget_node("n_1")
    assert await ledger.nodes() == [second]


async def test_a_row_that_breaks_the_schema_is_a_conflict(ledger):
    decision = reservation().decision
    await ledger.record_decision(decision)
    with pytest.raises(Conflict, match=r"ledger\.constraint"):
        await ledger.record_decision(decision)


async def test_another_process_sees_what_was_written(ledger, open_again):
    other = open_again()
    try:
        await ledger.ping()
        await issue(ledger, reservation())
        assert await other.issued(b"k" * 32, since=WINDOW) is not None
        await other.ping()
    finally:
        await other.close()

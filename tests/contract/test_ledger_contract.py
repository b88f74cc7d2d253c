"""What every ledger promises (est_server.ports.ledger), over every adapter."""

from __future__ import annotations

import asyncio
import secrets
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from est_server.errors import Conflict, NotFound
from est_server.ports.ledger import (
    CertificateRecord,
    Credential,
    DecisionRecord,
    Device,
    RequestRecord,
    Reservation,
)
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.storage.sqlite import SqliteLedger

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
WINDOW = NOW - timedelta(hours=24)


@pytest.fixture
async def ledger(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    found = SqliteLedger(path)
    yield found
    await found.close()


def reservation(key=b"k" * 32, *, credential=None, serial=None, at=NOW, register=None):
    name = secrets.token_hex(8)
    decision = DecisionRecord(
        id=f"d_{name}", request_id=f"r_{name}", at=at, operation="simpleenroll", label=None,
        profile="p", profile_digest="0" * 64, identity="SN-1", device_id="SN-1", verdict="allow",
        rule=None, message="allowed", trace="{}", csr=b"csr",
    )  # fmt: skip
    request = RequestRecord(
        id=f"r_{name}", state="reserved", idempotency_key=key, operation="simpleenroll",
        label=None, profile="p", identity="SN-1", device_id="SN-1", credential_id=credential,
        decision_id=decision.id, ca="ca", serial_number=serial or secrets.randbits(150),
        spki_sha256=b"s" * 32, csr=b"csr", plan="{}", created_at=at, updated_at=at,
    )  # fmt: skip
    return Reservation(request, decision, credential, register)


def certificate(made, status="good"):
    request = made.request
    return CertificateRecord(
        ca=request.ca, serial_number=request.serial_number, status=status, der=b"der",
        spki_sha256=request.spki_sha256, subject="CN=SN-1", profile="p", identity="SN-1",
        device_id="SN-1", request_id=request.id, not_before=NOW, not_after=NOW + timedelta(90),
        issued_at=request.created_at,
    )  # fmt: skip


async def issue(ledger, made):
    await ledger.reserve_and_record(made, certificate(made), window_start=WINDOW)


async def credential(ledger, uses):
    await ledger.add_credential(Credential("c_1", "user", "v", "p", NOW, uses_allowed=uses))


async def test_a_certificate_comes_back_as_it_went_in(ledger):
    made = reservation(serial=(1 << 159) - 1)
    await issue(ledger, made)
    found = await ledger.certificate("ca", (1 << 159) - 1)
    assert found == certificate(made)
    assert await ledger.issued(b"k" * 32, since=WINDOW) == found
    assert (await ledger.decisions(identity="SN-1"))[0] == made.decision


async def test_of_fifty_equal_requests_at_once_one_wins(ledger):
    outcomes = await asyncio.gather(
        *(issue(ledger, reservation()) for _ in range(50)), return_exceptions=True
    )
    assert sum(outcome is None for outcome in outcomes) == 1
    rules = {outcome.rule for outcome in outcomes if outcome is not None}
    assert rules == {"request.duplicate"}
    assert len(await ledger.certificates()) == 1


async def test_a_credential_of_three_uses_obtains_three(ledger):
    await credential(ledger, 3)
    made = [reservation(secrets.token_bytes(32), credential="c_1") for _ in range(20)]
    outcomes = await asyncio.gather(*(issue(ledger, one) for one in made), return_exceptions=True)
    assert sum(outcome is None for outcome in outcomes) == 3
    assert {outcome.rule for outcome in outcomes if outcome is not None} == {"credential.spent"}
    found = await ledger.credential("user")
    assert found is not None
    assert found.uses == 3


async def test_the_twin_that_took_the_last_use_is_a_duplicate_and_no_spent_credential(ledger):
    await credential(ledger, 1)
    await issue(ledger, reservation(credential="c_1"))
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await issue(ledger, reservation(credential="c_1"))


async def test_one_failure_in_a_batch_leaves_the_others_alone(ledger):
    same = secrets.randbits(150)
    good = [reservation(secrets.token_bytes(32)) for _ in range(5)]
    await issue(ledger, reservation(secrets.token_bytes(32), serial=same))
    bad = reservation(secrets.token_bytes(32), serial=same)
    outcomes = await asyncio.gather(
        *(issue(ledger, one) for one in (*good[:2], bad, *good[2:])), return_exceptions=True
    )
    assert [getattr(outcome, "rule", None) for outcome in outcomes].count("serial.duplicate") == 1
    assert len(await ledger.certificates()) == 6
    assert await ledger.request(bad.request.id) is None, "its request went with it"


async def test_a_key_older_than_the_window_is_free_again(ledger):
    await issue(ledger, reservation(at=WINDOW - timedelta(seconds=1)))
    await issue(ledger, reservation())
    assert len(await ledger.certificates()) == 2


async def test_reserve_then_record(ledger):
    made = reservation()
    await ledger.reserve(made, window_start=WINDOW)
    assert [request.id for request in await ledger.unsettled()] == [made.request.id]
    assert await ledger.issued(b"k" * 32, since=WINDOW) is None
    await ledger.record(made.request.id, certificate(made))
    assert await ledger.unsettled() == []
    with pytest.raises(Conflict, match=r"request\.state"):
        await ledger.record(made.request.id, certificate(made))


async def test_a_rejected_request_gives_key_and_use_back(ledger):
    await credential(ledger, 1)
    made = reservation(credential="c_1")
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.settle(made.request.id, "rejected", reason="no", at=NOW)
    await issue(ledger, reservation(credential="c_1"))


async def test_a_parked_request_keeps_its_key(ledger):
    made = reservation()
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.settle(made.request.id, "parked", reason="unknown", at=NOW)
    with pytest.raises(Conflict, match=r"request\.duplicate"):
        await ledger.reserve(reservation(), window_start=WINDOW)


async def test_presumed_certificates_are_found_and_free_the_request(ledger):
    made = reservation()
    await ledger.reserve(made, window_start=WINDOW)
    await ledger.presume(made.request.id, certificate(made, "presumed"))
    assert [found.status for found in await ledger.certificates(status="presumed")] == ["presumed"]
    await issue(ledger, reservation())


async def test_first_enrollment_registers_once(ledger):
    device = Device("SN-1", "p", NOW)
    for _ in range(2):
        await issue(ledger, reservation(secrets.token_bytes(32), register=device))
    assert await ledger.devices() == [device]


async def test_devices_are_added_all_or_none(ledger):
    await ledger.add_devices([Device("b", "p", NOW, attributes={"site": "Bern ☃"})])
    with pytest.raises(Conflict, match="device b exists"):
        await ledger.add_devices([Device("a", "p", NOW), Device("b", "p", NOW)])
    assert [device.id for device in await ledger.devices()] == ["b"]
    assert (await ledger.device("b")).attributes == {"site": "Bern ☃"}


async def test_device_states_move_only_from_where_they_may(ledger):
    await ledger.add_devices([Device("a", "p", NOW)])
    await ledger.set_device_state("a", "quarantined", expected=("active",), at=NOW)
    with pytest.raises(Conflict, match=r"device\.state"):
        await ledger.set_device_state("a", "quarantined", expected=("active",), at=NOW)
    with pytest.raises(NotFound):
        await ledger.set_device_state("x", "retired", expected=("active",), at=NOW)


async def test_a_user_name_has_one_live_credential(ledger):
    await credential(ledger, 1)
    with pytest.raises(Conflict, match=r"credential\.exists"):
        await credential(ledger, 1)
    await ledger.revoke_credential("user", at=NOW)
    assert await ledger.credential("user") is None
    again = Credential("c_2", "user", "v", "p", NOW)
    await ledger.add_credential(again)
    assert await ledger.credential("user") == again
    assert len(await ledger.credentials()) == 2


async def test_certificates_page_by_time_and_serial(ledger):
    for index in range(7):
        at = NOW + timedelta(microseconds=index // 3)
        await issue(ledger, reservation(secrets.token_bytes(32), at=at))
    pages, after = [], None
    while page := await ledger.certificates(limit=2, after=after):
        pages.extend(found.serial_number for found in page)
        after = (page[-1].issued_at, page[-1].serial_number)
    assert pages == [found.serial_number for found in await ledger.certificates()]
    assert len(set(pages)) == 7


async def test_profile_texts_are_kept_by_digest(ledger):
    await ledger.remember_profiles({"d1": ("p", "one")}, at=NOW)
    await ledger.remember_profiles({"d1": ("p", "two"), "d2": ("p", "two")}, at=NOW)
    assert await ledger.profile_text("d1") == ("p", "one")
    assert await ledger.profile_text("d2") == ("p", "two")


async def test_two_processes_share_one_file(ledger, tmp_path):
    other = SqliteLedger(tmp_path / "ledger.db")
    outcomes = await asyncio.gather(
        *(issue(found, reservation()) for found in (ledger, other) * 10), return_exceptions=True
    )
    await other.close()
    assert sum(outcome is None for outcome in outcomes) == 1


async def test_a_failed_commit_tells_nobody_of_success(ledger):
    await ledger.ping()
    connection = ledger._writer._connection
    connection.execute("PRAGMA max_page_count = 1")
    outcomes = await asyncio.gather(
        *(ledger.add_devices([Device(str(n), "p", NOW, attributes={"x": "y" * 9000})])
          for n in range(20)), return_exceptions=True
    )  # fmt: skip
    assert {getattr(outcome, "rule", None) for outcome in outcomes} == {"ledger.unavailable"}
    assert await ledger.devices() == []
    await ledger.add_devices([Device("later", "p", NOW)])  # a new connection: it works again


def test_the_file_is_its_owners_alone(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert schema_status(path).ready


_WRITER = """
import asyncio, sys
sys.path.insert(0, {folder!r})
from pathlib import Path
from test_ledger_contract import SqliteLedger, issue, reservation, secrets
async def main():
    ledger = SqliteLedger(Path({path!r}))
    async def one():
        while True:
            made = reservation(secrets.token_bytes(32))
            await issue(ledger, made)
            print(f"{{made.request.serial_number:x}}", flush=True)
    await asyncio.gather(*(one() for _ in range(8)))
asyncio.run(main())
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    acknowledged: set[int] = set()
    program = _WRITER.format(folder=str(Path(__file__).parent), path=str(path))
    for _ in range(6):
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(secrets.randbelow(60) + 1):
            acknowledged.add(int(process.stdout.readline(), 16))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split(b"\n")[:-1]
        acknowledged.update(int(line, 16) for line in rest)
        process.stdout.close()
        process.wait()

    async def stored():
        ledger = SqliteLedger(path)
        found = await ledger.certificates(limit=100_000)
        await ledger.close()
        return {record.serial_number for record in found}

    assert acknowledged
    assert acknowledged <= asyncio.run(stored())


def test_a_record_with_other_fields_is_another_record():
    made = reservation()
    assert replace(certificate(made), subject="CN=x") != certificate(made)

"""What every ledger promises when many ask at once, in one process or in several."""

from __future__ import annotations

import asyncio

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

from est_server.ports.ledger import Device


@pytest.fixture
async def two(ledger, open_again):
    """One ledger as two processes have it."""
    other = open_again()
    yield ledger, other
    await other.close()


async def gather(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_of_fifty_equal_requests_at_once_one_wins(ledger):
    outcomes = await gather(*(issue(ledger, reservation()) for _ in range(50)))
    assert rules(outcomes) == ["request.duplicate"] * 49
    assert len(await ledger.certificates()) == 1


async def test_of_equal_requests_in_two_processes_one_wins(two):
    for key in (any_key() for _ in range(5)):
        outcomes = await gather(*(issue(ledger, reservation(key)) for ledger in two * 10))
        assert rules(outcomes) == ["request.duplicate"] * 19
    assert len(await two[0].certificates()) == len(await two[1].certificates()) == 5


async def test_of_equal_reservations_in_two_processes_one_wins(two):
    outcomes = await gather(
        *(ledger.reserve(reservation(), window_start=WINDOW) for ledger in two * 10)
    )
    assert rules(outcomes) == ["request.duplicate"] * 19
    assert len(await two[0].unsettled()) == 1


async def test_a_credential_of_seven_uses_obtains_seven(two):
    await add_credential(two[0], 7)
    outcomes = await gather(
        *(issue(ledger, reservation(any_key(), credential="c_1")) for ledger in two * 25)
    )
    assert rules(outcomes) == ["credential.spent"] * 43
    assert (await two[1].credential("user")).uses == 7
    assert len(await two[1].certificates()) == 7


async def test_a_request_is_settled_once(two):
    made = reservation()
    await two[0].reserve(made, window_start=WINDOW)
    outcomes = await gather(
        *(ledger.record(made.request.id, certificate(made)) for ledger in two * 3),
        *(ledger.settle(made.request.id, "parked", reason="x", at=NOW) for ledger in two * 3),
    )
    assert rules(outcomes) == ["request.state"] * 11


async def test_a_device_registers_once(two):
    device = Device("SN-1", "p", NOW)
    outcomes = await gather(
        *(issue(ledger, reservation(any_key(), register=device)) for ledger in two * 10)
    )
    assert rules(outcomes) == []
    assert await two[0].devices() == [device]


async def test_a_failure_leaves_the_others_of_its_batch_alone(ledger):
    await add_credential(ledger, 0)
    good = [reservation(any_key()) for _ in range(12)]
    await issue(ledger, reservation(serial=7))
    bad = [
        reservation(),  # a duplicate, found when its decision is written already
        reservation(any_key(), serial=7),  # found last of all
        reservation(any_key(), credential="c_1"),  # found before anything is written
        reservation(any_key(), plan="\udc80"),  # no text
        reservation(any_key(), plan=object()),  # no value at all
    ]
    mixed = [*good[:3], *bad, *good[3:]]
    outcomes = await gather(*(issue(ledger, made) for made in mixed))
    assert rules(outcomes) == [
        "credential.spent", "ledger.value", "ledger.value", "request.duplicate", "serial.duplicate",
    ]  # fmt: skip
    for made in good:
        assert await ledger.certificate("ca", made.request.serial_number) == certificate(made)
        assert await ledger.decisions(request_id=made.request.id) == [made.decision]
    for made in bad:
        assert await ledger.request(made.request.id) is None
        assert await ledger.decisions(request_id=made.request.id) == []


async def test_what_a_write_confirmed_a_read_sees(ledger):
    async def one():
        made = reservation(any_key())
        await issue(ledger, made)
        assert await ledger.certificate("ca", made.request.serial_number) is not None
        assert await ledger.issued(made.request.idempotency_key, since=WINDOW) is not None

    await asyncio.gather(*(one() for _ in range(50)))


@pytest.mark.parametrize("turns", range(6))
async def test_a_caller_that_leaves_harms_nobody(ledger, turns):
    """`turns` times the loop goes round before half of the callers are cancelled."""
    made = [reservation(any_key(), register=Device(f"d{n}", "p", NOW)) for n in range(20)]
    tasks = [asyncio.create_task(issue(ledger, one)) for one in made]
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    outcomes = await gather(*tasks)
    assert all(outcome is None for outcome in outcomes[1::2])
    await ledger.ping()
    for n, one in enumerate(made):
        rows = (
            await ledger.request(one.request.id),
            await ledger.certificate("ca", one.request.serial_number),
            await ledger.device(f"d{n}"),
        )
        whole = all(row is not None for row in rows)
        assert whole or (n % 2 == 0 and rows == (None, None, None))

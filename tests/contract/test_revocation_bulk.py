"""Many certificates at once: batches, rivals, and kill -9 in the middle.

`BULK=100000` runs the long form (`make bulk`).
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import pytest
from ledger_adapters import LEDGERS
from ledger_world import NOW, WINDOW, any_key, certificate, reservation

from est_server.errors import Conflict
from est_server.ports.revocation import Revocation, Selection
from est_server.revocation import bulk
from est_server.revocation.bulk import in_batches

MANY = int(os.environ.get("BULK", "3000"))
RUN = """
import asyncio, os, sys
from datetime import datetime, UTC
from pathlib import Path
from est_server.ports.revocation import Revocation, Selection
from est_server.revocation.bulk import in_batches
from est_server.storage.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger(Path(sys.argv[1]))
    def order(found):
        return Revocation(found.ca, found.serial_number, "superseded", datetime.now(UTC), "test")
    revocations = ledger.revocations
    async for done in in_batches(revocations, Selection("revoke"), order, revocations.revoke):
        os.write(1, f"{done}\\n".encode())
    await ledger.close()

asyncio.run(main())
"""


def order(found):
    return Revocation(found.ca, found.serial_number, "superseded", NOW, "test")


async def issued(ledger, begin, count):
    made = [
        reservation(any_key(), serial=number, at=NOW + timedelta(microseconds=number))
        for number in range(begin + 1, begin + count + 1)
    ]
    await asyncio.gather(
        *(ledger.reserve_and_record(one, certificate(one), window_start=WINDOW) for one in made)
    )


async def revoke_all(ledger):
    revocations = ledger.revocations
    return [
        done
        async for done in in_batches(revocations, Selection("revoke"), order, revocations.revoke)
    ]


async def test_every_certificate_once_in_batches(ledger, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 10)
    await issued(ledger, 0, 25)
    assert await revoke_all(ledger) == [10, 10, 5]
    assert await revoke_all(ledger) == []
    assert (await ledger.revocations.last_event()).sequence == 25


async def test_who_comes_between_takes_one_and_spoils_no_batch(ledger, open_again, monkeypatch):
    monkeypatch.setattr(bulk, "BATCH", 10)
    await issued(ledger, 0, 20)
    other = open_again()
    give = ledger.revocations.revoke

    async def disturbed(orders):
        if len(orders) > 1:  # somebody revokes one of them just before
            await other.revocations.revoke([orders[3]])
        return await give(orders)

    done = [
        found
        async for found in in_batches(ledger.revocations, Selection("revoke"), order, disturbed)
    ]
    await other.close()
    assert done == [9, 9]
    assert await ledger.revocations.count_selected(Selection("revoke")) == 0


async def test_each_page_begins_where_the_one_before_ended(ledger, monkeypatch):
    """Nothing of any page changes, so that only the cursor leads to the next.

    Certificates that were issued in the same moment lie on both sides of a page's end.
    """
    monkeypatch.setattr(bulk, "BATCH", 3)
    times = [NOW + timedelta(microseconds=number // 4) for number in range(9)]
    serials = [5, 9, 1, 7, 3, 8, 2, 6, 4]
    for serial, at in zip(serials, times, strict=True):
        made = reservation(any_key(), serial=serial, at=at)
        await ledger.reserve_and_record(made, certificate(made), window_start=WINDOW)
    asked = []

    async def lost(orders):
        asked.append([one.serial_number for one in orders])
        assert len(asked) <= 12, f"a page came twice: {asked}"
        raise Conflict("revocation.revoked", "somebody else is always first")

    done = [
        count async for count in in_batches(ledger.revocations, Selection("revoke"), order, lost)
    ]
    assert done == [0, 0, 0]
    newest_first = sorted(zip(times, serials, strict=True), reverse=True)
    pages = [page for page in asked if len(page) == 3]
    assert [serial for page in pages for serial in page] == [serial for _, serial in newest_first]


def run(path, after=None):
    """Run a bulk revocation, kill it `after` seconds after its first batch; return what it said."""
    process = subprocess.Popen([sys.executable, "-c", RUN, path], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as said:
        lines = [said.readline()]
        if after is not None:
            time.sleep(after)
            process.send_signal(signal.SIGKILL)
        lines += said.read().split(b"\n")
    process.wait()
    return [int(line) for line in lines if line.strip()]


@pytest.mark.parametrize("adapter", ["sqlite"])
async def test_a_run_that_was_killed_goes_on_where_it_was(adapter, tmp_path):
    ledger = LEDGERS[adapter](tmp_path)()
    for begin in range(0, MANY, 1000):
        await issued(ledger, begin, min(1000, MANY - begin))
    told, kills = 0, 0
    for after in (0.0, MANY / 400_000, MANY / 200_000, None):
        told += sum(run(tmp_path / "ledger.db", after))
        events = await ledger.revocations.last_event()
        assert events.sequence >= told, "what was said was done"
        kills += events.sequence < MANY
    assert kills, "no run was cut off"
    assert await ledger.revocations.count_selected(Selection("revoke")) == 0
    seen, after = set(), 0
    while page := await ledger.revocations.events(after=after, limit=10_000):
        seen |= {event.serial_number for event in page}
        after = page[-1].sequence
    assert len(seen) == MANY == after, "each once"
    await ledger.close()

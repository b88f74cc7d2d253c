"""What was acknowledged is there after kill -9, whenever it came."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger

WORLD = Path(__file__).parents[2] / "contract"
WRITER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_world import any_key, certificate, issue, reservation, WINDOW
from est_server.storage.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger(Path(sys.argv[2]))
    async def one(task):
        while True:
            made = reservation(any_key())
            if task % 2:
                await issue(ledger, made)
            else:
                await ledger.reserve(made, window_start=WINDOW)
                os.write(1, f"reserved {made.request.id}\\n".encode())
                await ledger.record(made.request.id, certificate(made))
            os.write(1, f"issued {made.request.id} {made.request.serial_number:x}\\n".encode())
    await asyncio.gather(*(one(task) for task in range(8)))

asyncio.run(main())
"""


def killed(path, after):
    """Run a writer, kill it `after` seconds after its first word, return what it said."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(WORLD), str(path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout as said:
        lines = [said.readline()]
        time.sleep(after)
        process.send_signal(signal.SIGKILL)
        lines += said.read().split(b"\n")[:-1]
    process.wait()
    return [line.decode().split() for line in lines]


async def check(path, said):
    ledger = SqliteLedger(path)
    try:
        for state, request_id, *serial in said:
            request = await ledger.request(request_id)
            assert request is not None
            assert state == "reserved" or request.state == "issued"
            for number in serial:
                assert (await ledger.certificate("ca", int(number, 16))).request_id == request_id
        open_ones = {request.id for request in await ledger.unsettled()}
        issued = {certificate.request_id for certificate in await ledger.certificates(limit=10**6)}
        assert not open_ones & issued
        await ledger.ping()
    finally:
        await ledger.close()


@pytest.mark.parametrize("kills", [15, pytest.param(200, marks=pytest.mark.slow)])
def test_what_was_acknowledged_survives_kill_9(tmp_path, kills):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    total = 0
    for _ in range(kills):
        said = killed(path, random.uniform(0, 0.12))
        assert said[0]
        total += len(said)
        asyncio.run(check(path, said))
    assert total > kills

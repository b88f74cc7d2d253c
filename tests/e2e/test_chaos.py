"""kill -9 in a loop under load: what a client received is in the ledger, and nothing twice.

The long form is `make chaos`: KILLS=200.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections import Counter
from hashlib import sha256

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from device_world import csr, issued, post, session

KILLS = int(os.environ.get("KILLS", "5"))
DEVICES = 8
ANSWERS = 3  # that a server must give before it is killed
STARTS_WITHIN = 60.0  # seconds, on a machine that does other things too


class Fleet:
    """Devices that ask the same question until it is answered, as real ones do."""

    def __init__(self, server, credentials):
        self._server = server
        self._credentials = credentials
        self.received: dict[bytes, int] = {}  # SHA-256 of the device's key -> serial number
        self.asked_again = 0
        self.refused: Counter[int] = Counter()

    async def device(self, stop):
        async with session(self._server, self._credentials) as client:
            while not stop.is_set():
                await self._enroll(client, csr(secrets.token_hex(8)), stop)

    async def _enroll(self, client, body, stop):
        while not stop.is_set():
            try:
                status, answer, _ = await post(client, self._server, body)
            except (aiohttp.ClientError, OSError, TimeoutError):
                self.asked_again += 1
                await asyncio.sleep(0.02)
                continue
            if status == 200:
                certificate = issued(answer)
                key = certificate.public_key().public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                )
                self.received[sha256(key).digest()] = certificate.serial_number
            else:
                self.refused[status] += 1
            return


async def kill_under_load(server, fleet, log):
    """Start a server, let it answer, kill it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "est_server.cli", "serve", "-c", str(server.config),
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        before, until = len(fleet.received), time.monotonic() + STARTS_WITHIN
        while len(fleet.received) < before + ANSWERS and time.monotonic() < until:
            assert process.returncode is None, "it must start again by itself"
            await asyncio.sleep(0.005)
        assert len(fleet.received) >= before + ANSWERS
        await asyncio.sleep(secrets.randbelow(100) / 1000)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def in_the_ledger(server):
    """Return the serial numbers of every device's certificates by SHA-256 of its key."""
    ledger = server.ledger()
    found: dict[bytes, list[int]] = {}
    after = None
    while page := await ledger.certificates(profile="interop", limit=1000, after=after):
        for record in page:
            found.setdefault(record.spki_sha256, []).append(record.serial_number)
        after = (page[-1].issued_at, page[-1].serial_number)
    unsettled = await ledger.unsettled()
    await ledger.close()
    return found, unsettled


async def test_kill_9_under_load_loses_nothing_and_issues_nothing_twice(new_server, tmp_path):
    server = new_server(tmp_path / "s", "--interop")
    fleet = Fleet(server, server.credential("u", "interop"))
    stop = asyncio.Event()
    devices = [asyncio.create_task(fleet.device(stop)) for _ in range(DEVICES)]
    try:
        with (tmp_path / "log").open("wb") as log:
            for _ in range(KILLS):
                await kill_under_load(server, fleet, log)
    finally:
        stop.set()
        await asyncio.gather(*devices)
    stored, unsettled = await in_the_ledger(server)
    unseen = len(stored) - len(fleet.received)
    print(
        f"{KILLS} kills, {len(fleet.received)} certificates received, {unseen} recorded and never"
        f" received, {fleet.asked_again} questions asked again"
    )
    assert not fleet.refused
    assert unsettled == []
    assert {key: [serial] for key, serial in fleet.received.items()} == {
        key: serials for key, serials in stored.items() if key in fleet.received
    }
    assert [serials for serials in stored.values() if len(serials) > 1] == []
    assert unseen <= DEVICES, "only the last question of each device may be without its answer"
    assert b"Traceback" not in (tmp_path / "log").read_bytes()

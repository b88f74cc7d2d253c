"""The process that publishes is stopped in the middle of its work, and wakes up later."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
import urllib.request
from contextlib import closing, contextmanager
from hashlib import sha256
from threading import Event, Thread

import pytest
from device_world import csr, issued, post, session
from ocsp_site import prepare
from workers_site import on_any_port, supervised, until

from est_server.app.clock import system_clock
from est_server.ports.revocation import Revocation
from est_server.storage.sqlite import SqliteLedger
from est_server.wire.crl_reading import read_crl


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Two workers that publish into a directory, too."""
    server = on_any_port(tmp_path_factory.mktemp("lease") / "server", "--interop")
    prepare(server)
    text = server.config.read_text()
    crl = "    crl: {directory: public}\n    backend: soft"
    assert "    backend: soft" in text
    server.config.write_text(text.replace("    backend: soft", crl, 1))
    with supervised(server) as found:
        yield found


def rows(site, query):
    with closing(sqlite3.connect(site.server.directory / "state" / "ledger.db")) as ledger:
        return ledger.execute(query).fetchall()


def holder(site):
    """Return the process that holds the lease, and its token."""
    found = rows(
        site,
        "SELECT pid, token FROM leases JOIN nodes ON node = holder WHERE name = 'publisher'",
    )
    return found[0] if found else None


def stop(site, pid):
    """Stop a process, but not while it writes: it would keep everybody from the one file."""
    path = site.server.directory / "state" / "ledger.db"

    def stopped():
        os.kill(pid, signal.SIGSTOP)
        with closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as ledger:
            try:
                ledger.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os.kill(pid, signal.SIGCONT)
                return False
            ledger.execute("ROLLBACK")
            return True

    until("a moment without a write", stopped)


class Watched:
    """Every list that was ever in the directory, as others see it."""

    def __init__(self, folder):
        self.folder = folder
        self.numbers = {"ca": [], "delta": []}
        self.digests = {}

    def look(self):
        for kind, name in (("ca", "issuing.crl"), ("delta", "issuing-delta.crl")):
            try:
                der = (self.folder / name).read_bytes()
            except FileNotFoundError:
                continue
            number = read_crl(der).number
            known = self.numbers[kind]
            assert not known or number >= known[-1], f"{name} went back"
            if not known or number > known[-1]:
                known.append(number)
            digest = sha256(der).digest()
            assert self.digests.setdefault((kind, number), digest) == digest, "a number twice"


@contextmanager
def watching(folder):
    """Look at the directory all the time until the block ends."""
    watched, end, failures = Watched(folder), Event(), []

    def watch():
        while not end.is_set():
            try:
                watched.look()
            except AssertionError as failure:
                failures.append(failure)
                return
            time.sleep(0.005)

    thread = Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        end.set()
        thread.join()
    assert failures == []


def enroll(site, login, names):
    async def all_of_them():
        async with session(site.server, login) as client:
            return [await post(client, site.server, csr(name)) for name in names]

    return [issued(body).serial_number for _, body, _ in asyncio.run(all_of_them())]


async def revoke(site, serial):
    ledger = SqliteLedger(site.server.directory / "state" / "ledger.db")
    await ledger.revocations.revoke(
        [Revocation("issuing", serial, "superseded", system_clock(), "test")]
    )
    await ledger.close()


def test_a_publisher_that_sleeps_past_its_lease_takes_nothing_back(site):
    login = site.server.credential("fleet", "interop")
    serials = iter(enroll(site, login, [f"l-{number}" for number in range(8)]))
    folder = site.server.directory / "public"

    def listed(serial):
        der = (folder / "issuing-delta.crl").read_bytes()
        return any(entry.serial_number == serial for entry in read_crl(der).entries())

    def revoke_and_see():
        serial = next(serials)
        asyncio.run(revoke(site, serial))
        until(f"{serial:x} in the directory", lambda: listed(serial))

    until("somebody publishes", lambda: holder(site))
    with watching(folder) as watched:
        tokens = []
        for _ in range(2):
            revoke_and_see()
            pid, token = holder(site)
            tokens.append(token)
            stop(site, pid)
            try:
                revoke_and_see()
                other, newer = until(
                    "another holder", lambda old=pid: (h := holder(site)) and h[0] != old and h
                )
                assert newer > token
                revoke_and_see()
            finally:
                os.kill(pid, signal.SIGCONT)
            revoke_and_see()
            assert holder(site)[0] == other, "whoever wakes up is not the holder any more"
        assert tokens == sorted(set(tokens))
    assert len(watched.numbers["delta"]) >= 8
    until("both serve the newest", lambda: _served(site, 20) == {_number(folder)})


def _number(folder):
    return read_crl((folder / "issuing-delta.crl").read_bytes()).number


def _served(site, times):
    found = set()
    for _ in range(times):
        with urllib.request.urlopen(f"http://{site.server.public}/crl/issuing-delta.crl") as got:
            found.add(read_crl(got.read()).number)
    return found

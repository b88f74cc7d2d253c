"""EST in front of a real ACME server: pebble enrolls, renews and revokes for curl and openssl."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import ssl
import sys
import time
from collections import Counter

import aiohttp
import pytest
from acme_backend import opened
from cryptography import x509
from device_world import authorization, csr, issued, post
from est_process import initialise, serving
from pebble import PACKAGE, PROGRAM, Pebble, authorize, in_background
from test_interop_clients import CLIENTS

from est_server.storage.sqlite import SqliteLedger
from est_server.testing import MovedClock

SECONDS = float(os.environ.get("SECONDS", "60"))
DEVICES = 6
SOON = 60.0
CA = """
  pebble:
    backend: acme_upstream
    directory: {directory}
    trust: [acme/tls-root.pem]
    account_key: file:acme/acme.key
    external_account: {{key_id: kid-1, mac_key: file:acme/eab}}
    terms_of_service_agreed: true
    issuers: [acme/pebble-root.pem, acme/pebble-issuing.pem]
    key_usage: [digitalSignature, keyEncipherment]
    extended_key_usage: [serverAuth, clientAuth]
    timeout: 5s
"""
PROFILE = """
version: 1
labels: [pebble]
ca: pebble
registration: none
authenticate:
  - credential: {}
reenroll: {key: new-or-same}
subject: {as_requested: true}
subject_alternative_names: {as_requested: true}
key: {allow: [EC-P256]}
certificate:
  lifetime: 30d
  key_usage: [digitalSignature, keyEncipherment]
  extended_key_usage: [serverAuth, clientAuth]
"""


class Site:
    """A server whose profile `pebble` issues from pebble."""

    def __init__(self, folder, pebble, call):
        self.server = initialise(folder, "--interop")
        self.pebble, self.call = pebble, call
        self.folder = folder
        text = self.server.config.read_text()
        added = CA.format(directory=pebble.directory)
        self.server.config.write_text(text.replace("\nstate:", f"{added}\nstate:", 1))
        (folder / "profiles" / "pebble.yaml").write_text(PROFILE)
        (folder / "acme").symlink_to(pebble.folder)
        self._account()
        self.user = self.server.credential("lab", "pebble")

    def _account(self):
        """Open the account's key as another customer's program does, and make it if need be."""
        return opened(
            self.pebble.folder, MovedClock(), self.pebble.directory,
            trust=["tls-root.pem"], issuers=["pebble-root.pem"],
        )  # fmt: skip

    def authorize(self, *names):
        """Do what a customer of the CA does: have names authorized for the account."""

        async def work():
            account = self._account()
            await account.connect()
            for name in names:
                await authorize(account._session, [x509.DNSName(name)])
            await account.close()

        self.call(work())

    async def enroll(self, body, root):
        trust = ssl.create_default_context(cafile=root)
        connector = aiohttp.TCPConnector(ssl=trust)
        headers = authorization(self.user)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            return await post(client, self.server, body, "pebble/simpleenroll")


@pytest.fixture(scope="module")
def site(need, tmp_path_factory):
    need(PACKAGE, PROGRAM)
    pebble = Pebble(tmp_path_factory.mktemp("pebble"))
    with in_background(pebble) as call:
        yield Site(tmp_path_factory.mktemp("site") / "server", pebble, call)


def until(wanted):
    """Ask again until it is so."""
    deadline = time.monotonic() + SOON
    while not wanted():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_curl_enrolls_and_renews_and_the_ca_hears_of_a_revocation(site, need, run, tmp_path):
    need(*CLIENTS["curl-openssl"])
    roots = tmp_path / "roots.pem"
    roots.write_bytes(
        site.server.root.read_bytes() + (site.pebble.folder / "pebble-root.pem").read_bytes()
    )
    name, work = "router-7.pebble.example", tmp_path / "work"
    site.authorize(name)
    with serving(site.server):
        run("curl-openssl/run", f"{site.server.url}/pebble", roots, *site.user, "ec", work,
            EST_CN=name, EST_DNS=name)  # fmt: skip
        made = site.call(site.pebble.issued())
        serials = {
            x509.load_pem_x509_certificate((work / f"{file}.pem").read_bytes()).serial_number
            for file in ("cert1", "renewed", "cert2")
        }
        assert serials == {*made}, "these three and no other"
        assert {status for _, status in made.values()} == {"Valid"}
        last = x509.load_pem_x509_certificate((work / "cert2.pem").read_bytes()).serial_number
        site.server.run("cert", "revoke", f"{last:x}", "--reason", "superseded")
        until(lambda: site.call(site.pebble.issued())[last][1] == "Revoked")


def test_what_a_device_is_told(site):
    with serving(site.server):
        name = "stranger.pebble.example"
        body = csr(name, None, name)
        status, said, _ = asyncio.run(site.enroll(body, site.server.root))
        assert (status, said.split(b":")[0]) == (502, b"ca.not-authorized")
        assert name.encode() in said
        status, said, _ = asyncio.run(site.enroll(csr("no-dns-name"), site.server.root))
        assert (status, said.split(b":")[0]) == (502, b"ca.plan")
        site.authorize(name)
        site.call(site.pebble.relay.stop())
        status, said, headers = asyncio.run(site.enroll(body, site.server.root))
        assert (status, int(headers["Retry-After"]) > 0) == (503, True)
        assert b"127.0.0.1" not in said
        site.call(site.pebble.relay.start())
        until(lambda: asyncio.run(site.enroll(body, site.server.root))[0] == 200)


@pytest.mark.slow
def test_a_ca_that_is_killed_and_comes_back_as_another_one(need, tmp_path):
    need(PACKAGE, PROGRAM)
    (tmp_path / "pebble").mkdir()
    pebble, name = Pebble(tmp_path / "pebble"), "router-8.pebble.example"
    with in_background(pebble) as call:
        site = Site(tmp_path / "server", pebble, call)
        site.authorize(name)
        with serving(site.server):
            assert asyncio.run(site.enroll(csr(name, None, name), site.server.root))[0] == 200
            pebble.kill()
            body = csr(name, None, name)
            status, _, headers = asyncio.run(site.enroll(body, site.server.root))
            assert (status, int(headers["Retry-After"]) > 0) == (503, True)
            call(pebble.begin())
            site.authorize(name)
            until(lambda: asyncio.run(site.enroll(body, site.server.root))[0] == 502)
            # the account was opened again; who signs now is nobody that the operator knows
            [parked] = site.server.json("request", "list", "--state", "parked")
            shown = site.server.json("request", "show", parked["request"])
            assert shown["ticket"].startswith(pebble.directory.removesuffix("/dir"))
            site.server.run("request", "resolve", parked["request"], "--not-issued")
        with serving(site.server):  # with its new root in the file
            status, said, _ = asyncio.run(site.enroll(body, site.server.root))
            assert status == 200, said


class Fleet:
    """Devices that ask the same question until it is answered, and then another one."""

    def __init__(self, site):
        self._site = site
        self.received: list[int] = []
        self.statuses: Counter[int | str] = Counter()

    async def device(self, name, stop):
        while not stop.is_set():
            body, certificate = csr(name, None, name), None
            while certificate is None:
                certificate = await self._asked(body)
            self.received.append(certificate.serial_number)

    async def _asked(self, body):
        try:
            status, answer, _ = await self._site.enroll(body, self._site.server.root)
        except (aiohttp.ClientError, OSError, TimeoutError):
            self.statuses["gone"] += 1
            await asyncio.sleep(0.2)
            return None
        self.statuses[status] += 1
        assert status in {200, 202, 503}, answer
        if status == 200:
            return issued(answer)
        await asyncio.sleep(0.2)
        return None


async def serve_until_killed(site, seconds, log):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "est_server.cli", "serve", "-c", str(site.server.config),
        stdout=log, stderr=log,
    )  # fmt: skip
    try:
        done, _ = await asyncio.wait([asyncio.create_task(process.wait())], timeout=seconds)
        assert not done, "it must not end by itself"
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()


async def cut_now_and_then(site, stop):
    """Cut the line to pebble in the midst of whatever is said."""
    while not stop.is_set():
        await asyncio.sleep(secrets.randbelow(4000) / 1000)
        await asyncio.to_thread(site.call, site.pebble.relay.stop())
        await asyncio.sleep(secrets.randbelow(500) / 1000)
        await asyncio.to_thread(site.call, site.pebble.relay.start())


async def books(site):
    """Return pebble's certificates and the ledger's, and the requests that are still open."""
    made = await asyncio.to_thread(site.call, site.pebble.issued())
    ledger = SqliteLedger(site.server.directory / "state" / "ledger.db")
    try:
        found = await ledger.certificates(profile="pebble", limit=10_000)
        return {*made}, {row.serial_number: row for row in found}, await ledger.orders.counts()
    finally:
        await ledger.close()


async def under_load(site, fleet, names, log):
    """Kill the server again and again; in the end let every device have its answer."""
    stop, kills = asyncio.Event(), 0
    devices = [asyncio.create_task(fleet.device(name, stop)) for name in names]
    cuts = asyncio.create_task(cut_now_and_then(site, stop))
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        await serve_until_killed(site, min(12, SECONDS / 3), log)
        kills += 1
    stop.set()
    await cuts
    last = asyncio.create_task(serve_until_killed(site, 3 * SOON, log))
    try:
        await asyncio.wait_for(asyncio.gather(*devices), 2 * SOON)
    finally:
        last.cancel()
        await asyncio.gather(last, return_exceptions=True)
    return kills


@pytest.mark.slow
async def test_load_with_kills_and_cuts_loses_nothing_and_issues_nothing_twice(site, tmp_path):
    names = [f"device-{number}.pebble.example" for number in range(DEVICES)]
    await asyncio.to_thread(site.authorize, *names)
    fleet, (before, _, _) = Fleet(site), await books(site)
    with (tmp_path / "log").open("wb") as log:
        kills = await under_load(site, fleet, names, log)
    made, rows, still_open = await books(site)
    print(f"{kills} kills, pebble issued {len(made - before)}, devices received"
          f" {len(fleet.received)}; answers: {dict(fleet.statuses)}")  # fmt: skip
    assert made == {*rows}, "two books, the same certificates"
    assert sorted(fleet.received) == sorted(made - before), "each was received, and once"
    keys = Counter(row.spki_sha256 for row in rows.values() if row.serial_number not in before)
    assert set(keys.values()) == {1}, "one certificate for each key"
    assert not still_open
    assert b"Traceback" not in (tmp_path / "log").read_bytes()

"""Processes that do one thing each: who validates has no CA key and only reads the ledger."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from device_world import csr, issued, post, session
from est_process import COMMAND, REPOSITORY, EstServer, free_addresses, initialise
from ocsp_site import Site, prepare
from workers_site import until

from est_server.wire.crl_reading import read_crl

DMZ = ("server.yaml", "profiles", "trust")


@contextmanager
def serving(server: EstServer, roles: str, name: str):
    """Run a process with these roles until the block ends."""
    log = server.directory / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "-c", str(server.config), "--role", roles],
            cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        until(
            f"{name} is ready",
            lambda: '"server.ready"' in log.read_text() or process.poll() is not None,
        )
        assert process.poll() is None, log.read_text()
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def servers(tmp_path_factory):
    """A server with keys, and a directory without any that reads its ledger."""
    folder = tmp_path_factory.mktemp("roles")
    inside = initialise(folder / "inside", "--interop")
    prepare(inside)
    text = inside.config.read_text()
    url = '    url: "http'
    assert text.count(url) == 1
    text = text.replace(url, f"    responder_passphrase: file:secrets/responder.pass\n{url}")
    inside.config.write_text(text)
    secret = inside.directory / "secrets" / "responder.pass"
    secret.write_text("known to both\n")
    secret.chmod(0o600)
    dmz = folder / "dmz"
    dmz.mkdir()
    for name in DMZ:
        copy = shutil.copytree if (inside.directory / name).is_dir() else shutil.copy
        copy(inside.directory / name, dmz / name)
    (dmz / "secrets").mkdir()
    shutil.copy(secret, dmz / "secrets")
    (public,) = free_addresses(1)
    text = inside.config.read_text().replace(f'listen: "{inside.public}"', f'listen: "{public}"')
    text = text.replace("sqlite:///state/", f"sqlite:///{inside.directory}/state/")
    (dmz / "server.yaml").write_text(text)
    return inside, EstServer(dmz, inside.est, public, inside.admin)


@pytest.fixture(scope="module")
def running(servers):
    """One process that enrolls, one that publishes, one in the DMZ."""
    inside, outside = servers
    with (
        serving(inside, "est", "est"),
        serving(inside, "publisher,admin", "publisher"),
        serving(outside, "validation", "validation") as validation,
    ):
        yield inside, outside, validation


@pytest.fixture(scope="module")
def site(running):
    """Certificates of the inside, whose status the outside is asked for."""
    inside, outside, _ = running
    found = Site(inside)
    login = inside.credential("fleet", "interop")
    for name in ("good", "revoked", "later"):
        found.enroll(name, login)
    found.forge("unknown")
    found.change("keyCompromise", "revoked")
    found.server = EstServer(inside.directory, inside.est, outside.public, inside.admin)
    return found


def test_the_directory_outside_has_no_key(running):
    _, outside, process = running
    held = {path.name for path in outside.directory.rglob("*") if path.suffix == ".key"}
    assert held == set()
    opened = [
        (Path(f"/proc/{process.pid}/fdinfo/{one.name}"), str(one.readlink()))
        for one in Path(f"/proc/{process.pid}/fd").iterdir()
    ]
    ledgers = [info for info, path in opened if path.endswith("ledger.db")]
    assert ledgers
    for info in ledgers:
        flags = int(info.read_text().split("flags:")[1].split()[0], 8)
        assert flags & os.O_ACCMODE == os.O_RDONLY


def test_every_status_is_told_without_a_ca_key(site):
    until("an answer", lambda: _told(site, "good") == "good")
    assert [_told(site, name) for name in ("good", "revoked", "unknown")] == [
        "good", "revoked", "unknown",
    ]  # fmt: skip


def _told(site, name):
    try:
        return site.status(name)
    except ValueError:  # tryLater has no status
        return None


def test_a_revocation_made_elsewhere_is_told_at_once(site):
    for _ in range(5):
        assert site.status("later") == "good"
    at = site.change("superseded", "later")
    until("revoked", lambda: site.status("later") == "revoked")
    took_ocsp = time.monotonic() - at
    serial = site.certificate("later").serial_number
    until("the delta", lambda: serial in _listed(site))
    took_crl = time.monotonic() - at
    print(f"\nOCSP {took_ocsp:.2f} s, delta CRL {took_crl:.2f} s after the revocation")


def _listed(site):
    status, _, body = site.exchange("GET", "/crl/issuing-delta.crl")
    assert status == 200
    return {entry.serial_number for entry in read_crl(body).entries()}


def test_lists_issuers_and_the_feed_are_there(site):
    assert site.exchange("GET", "/crl/issuing.crl")[0] == 200
    status, _, der = site.exchange("GET", "/aia/issuing.cer")
    assert (status, der[:1]) == (200, b"\x30")
    status, _, page = site.exchange("GET", "/revocations")
    assert status == 200
    assert json.loads(page)["events"]


def test_who_enrolls_has_no_other_listener(running):
    inside, _, _ = running

    async def enroll():
        async with session(inside, inside.credential("two", "interop")) as client:
            return await post(client, inside, csr("r-1"))

    status, body, _ = asyncio.run(enroll())
    assert status == 200
    assert issued(body)
    nodes = inside.json("doctor")
    roles = [one for one in nodes if one["check"] == "roles"]
    assert [one["status"] for one in roles] == ["ok"], roles


def test_nobody_who_publishes_is_told(tmp_path):
    server = initialise(tmp_path / "server")
    with serving(server, "est", "alone"):
        done = subprocess.run(
            [*COMMAND, "doctor", "-c", str(server.config), "-o", "json"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    roles = [one for one in json.loads(done.stdout) if one["check"] == "roles"]
    assert [one["status"] for one in roles] == ["fail"]
    assert "--role publisher" in roles[0]["next"]
    assert done.returncode == 1


def test_a_role_that_is_none_is_told(servers):
    inside, _ = servers
    done = subprocess.run(
        [*COMMAND, "serve", "-c", str(inside.config), "--role", "est,oscp"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "oscp" in done.stderr

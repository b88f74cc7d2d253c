"""Requests that wait for a person: restarts, several processes, real clients, the commands."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from asker import Asker, issued
from cases import case
from cryptography import x509
from est_process import REPOSITORY
from test_interop_clients import CLIENTS
from typer.testing import CliRunner

from est_server.app.clock import system_clock
from est_server.cli import app
from est_server.config.configuration import load
from est_server.enrollment.review import MOST_WAITING
from est_server.ports.ledger import DecisionRecord, RequestRecord, Reservation
from interop.conformance.asking import (
    base64,
    certification_request,
    challenge,
    common_name,
    new_key,
)

APPROVAL = "\napproval: {mode: manual, retry_after: 60s}\n"


def run(server, *arguments):
    """Run a command of the product in this process and return what it prints."""
    done = CliRunner().invoke(app, [*arguments, "-c", str(server.config), "-o", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(server, *arguments):
    done = CliRunner().invoke(app, [*arguments, "-c", str(server.config), "-o", "json"])
    return done.exit_code, json.loads(done.stderr)["error"]


def with_ledger(server, work):
    """Run `work` with the ledger of a server, as another process would."""

    async def run():
        ledger = server.ledger()
        try:
            return await work(ledger)
        finally:
            await ledger.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory, new_server):
    """Return an initialised server whose profile waits for an operator; it does not run."""
    server = new_server(tmp_path_factory.mktemp("reviewed") / "s")
    profile = server.directory / "profiles" / "device.yaml"
    profile.write_text(profile.read_text() + APPROVAL)
    return server


@pytest.fixture(scope="module")
def another_node(reviewed, new_server, tmp_path_factory):
    """Return the same server for a second process: other addresses, the same ledger."""
    other = new_server(tmp_path_factory.mktemp("node") / "s")
    listeners = other.config.read_text()
    shutil.rmtree(other.directory)
    shutil.copytree(reviewed.directory, other.directory)
    ledger = load(reviewed.config).server.state.ledger
    ledger = ledger.replace("sqlite:///state", f"sqlite:///{reviewed.directory}/state")
    text, changed = re.subn(r"\n  ledger: \S+", f"\n  ledger: {ledger}", listeners)
    assert changed == 1
    other.config.write_text(text)
    return other


@pytest.fixture(scope="module")
def nodes(reviewed, another_node, serve):
    with serve(reviewed), serve(another_node):
        yield reviewed, another_node


def device(server, name, folder):
    """Register a device and return an asker with its one-time password."""
    made = run(server, "device", "add", name, "--profile", "device", "--otp")
    return Asker(server, folder, "1.3", credential=(made["username"], made["password"]))


def poll(asker, key):
    """Ask with a request that is bound to a connection of its own."""
    with asker.connect() as connection:
        csr = certification_request(key, common_name("x"), [challenge(connection.binding)])
        return asker.ask("simpleenroll", base64(csr), on=connection)


def the_record(server, name):
    [found] = [row for row in run(server, "request", "list") if row["identity"] == name]
    return found["request"]


@case(113)
def test_a_record_survives_a_restart_and_is_collected_once_from_two_processes(
    reviewed, another_node, serve, tmp_path
):
    asker, key = device(reviewed, "SN-100", tmp_path), new_key()
    with serve(reviewed):
        assert poll(asker, key).status == 202
    run(reviewed, "request", "approve", the_record(reviewed, "SN-100"))  # nobody serves now
    with serve(reviewed), serve(another_node):
        askers = [asker, asker.with_(server=another_node)] * 50
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda who: poll(who, key), askers))
    assert [answer.status for answer in answers] == [200] * 100
    assert len({issued(answer).serial_number for answer in answers}) == 1
    assert len(run(reviewed, "cert", "list", "--device", "SN-100")) == 1
    [credential] = [c for c in run(reviewed, "credential", "list") if c["username"] == "SN-100"]
    assert (credential["uses"], credential["allowed"]) == (1, 1)


@case(109)
@case(113)
def test_a_hundred_first_polls_of_two_processes_are_one_record(nodes, tmp_path):
    asker, key = device(nodes[0], "SN-101", tmp_path), new_key()
    askers = [asker, asker.with_(server=nodes[1])] * 50
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda who: poll(who, key), askers))
    assert [answer.status for answer in answers] == [202] * 100
    assert the_record(nodes[0], "SN-101")


def test_a_device_that_is_quarantined_meanwhile_collects_nothing(nodes, tmp_path):
    asker, key = device(nodes[0], "SN-102", tmp_path), new_key()
    assert poll(asker, key).status == 202
    record = the_record(nodes[0], "SN-102")
    run(nodes[0], "request", "approve", record)
    run(nodes[0], "device", "quarantine", "SN-102")
    answer = poll(asker, key)
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"device.quarantined")
    assert run(nodes[0], "request", "show", record)["state"] == "approved"
    run(nodes[0], "device", "release", "SN-102")
    assert poll(asker, key).status == 200


def test_a_renewal_whose_certificate_is_revoked_meanwhile_collects_nothing(nodes, tmp_path):
    server = nodes[0]
    asker, key = device(server, "SN-108", tmp_path), new_key()
    assert poll(asker, key).status == 202
    run(server, "request", "approve", the_record(server, "SN-108"))
    certificate = issued(poll(asker, key))
    renewing = asker.with_(identity=asker.keep(certificate, key), credential=None)
    csr = base64(certification_request(new_key(), common_name("SN-108")))
    assert renewing.ask("simplereenroll", csr).status == 202
    run(server, "request", "approve", the_record(server, "SN-108"))
    run(server, "cert", "revoke", f"{certificate.serial_number:x}")
    answer = renewing.ask("simplereenroll", csr)
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"certificate.revoked")


def test_a_running_server_lets_records_expire(nodes, tmp_path):
    server = nodes[0]
    asker = device(server, "SN-109", tmp_path)
    assert poll(asker, new_key()).status == 202
    record = the_record(server, "SN-109")

    async def overdue(ledger):
        found = await ledger.pending.get(record)
        at = system_clock() - timedelta(days=8)
        old = replace(
            found, id="r_00overdue", match_key=b"overdue", created_at=at, updated_at=at,
            expires_at=at + timedelta(days=7), decision_id="d_00overdue",
        )  # fmt: skip
        [decision] = await ledger.decisions(decision_id=found.decision_id)
        await ledger.pending.add(old, replace(decision, id="d_00overdue"), most=100)

    with_ledger(server, overdue)
    until = time.monotonic() + 40
    while run(server, "request", "show", "r_00overdue")["state"] != "expired":
        assert time.monotonic() < until
        time.sleep(0.2)
    assert run(server, "request", "show", record)["state"] == "waiting"


def test_an_identity_that_waits_with_too_many_requests_is_refused(nodes, tmp_path):
    server = nodes[0]
    asker = device(server, "SN-110", tmp_path)
    assert poll(asker, new_key()).status == 202
    record = the_record(server, "SN-110")

    async def fill(ledger):
        found = await ledger.pending.get(record)
        [decision] = await ledger.decisions(decision_id=found.decision_id)
        for number in range(MOST_WAITING - 1):
            fields = {"id": f"r_00more{number}", "decision_id": f"d_00more{number}"}
            more = replace(found, match_key=f"more{number}".encode(), **fields)
            await ledger.pending.add(
                more, replace(decision, id=fields["decision_id"]), most=MOST_WAITING
            )

    with_ledger(server, fill)
    answer = poll(asker, new_key())
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"approval.too-many")
    assert b"decision d_" in answer.body


@case(111)
def test_an_expired_record_is_followed_by_a_new_one(nodes, tmp_path):
    asker, key = device(nodes[0], "SN-103", tmp_path), new_key()
    assert poll(asker, key).status == 202
    first = the_record(nodes[0], "SN-103")
    run(nodes[0], "request", "approve", first)
    later = system_clock() + timedelta(days=8)
    with_ledger(nodes[0], lambda ledger: ledger.pending.expire(later))
    assert poll(asker, key).status == 202
    assert the_record(nodes[0], "SN-103") != first
    assert run(nodes[0], "request", "show", first)["state"] == "expired"
    assert refused(nodes[0], "request", "approve", first) == (1, "request.state")


def test_a_profile_that_asks_nobody_any_more_answers_what_waits(nodes, tmp_path):
    server = nodes[0]
    asker, key = device(server, "SN-104", tmp_path), new_key()
    profile = server.directory / "profiles" / "device.yaml"
    text = profile.read_text()
    assert poll(asker, key).status == 202
    record = the_record(server, "SN-104")
    profile.write_text(text.replace(APPROVAL, ""))
    server.run("config", "reload")
    first = issued(poll(asker, key))
    profile.write_text(text)
    server.run("config", "reload")
    assert issued(poll(asker, key)) == first
    assert run(server, "request", "show", record)["state"] == "issued"
    assert refused(server, "request", "approve", record) == (1, "request.state")
    assert len(run(server, "cert", "list", "--device", "SN-104")) == 1


def metric(server, name):
    trust = ssl.create_default_context(cafile=server.root)
    with urllib.request.urlopen(f"https://{server.admin}/metrics", context=trust) as answer:
        text = answer.read().decode()
    [value] = re.findall(rf"^{name} (.+)$", text, re.MULTILINE)
    return float(value)


def test_the_queue_is_measured(nodes, tmp_path):
    asker = device(nodes[0], "SN-105", tmp_path)
    assert poll(asker, new_key()).status == 202
    until = time.monotonic() + 40
    while not (
        metric(nodes[0], "est_server_pending_requests") >= 1
        and metric(nodes[0], "est_server_pending_oldest_seconds") > 0
    ):
        assert time.monotonic() < until
        time.sleep(0.2)


def test_the_commands_say_who_decided_what_about_which_request(nodes, tmp_path):
    server = nodes[0]
    asker, key = device(server, "SN-106", tmp_path), new_key()
    assert poll(asker, key).status == 202
    record = the_record(server, "SN-106")
    shown = run(server, "request", "show", record)
    assert shown["plan"]["subject"] == "CN=SN-106"
    assert shown["gates"][-1]["rule"] == "approval.pending"
    assert "device.yaml:" in shown["gates"][-1]["at"]
    assert run(server, "request", "list", "--state", "denied") == []
    denied = run(server, "request", "deny", record, "--reason", "not ours")
    assert set(denied) == set(run(server, "request", "list", "--state", "denied")[0])
    assert denied["decided_by"] == f"{_user()}@{socket.gethostname()}"
    for command in (["approve", record], ["deny", record, "--reason", "again"]):
        assert refused(server, "request", *command) == (1, "request.state")
    assert refused(server, "request", "approve", "r_nothing") == (1, "request.unknown")
    explained = run(server, "why", record)
    assert [found["review"]["note"] for found in explained] == ["not ours"]
    assert "not ours" in server.run("why", record)
    approved = run(server, "request", "list", "--state", "any")
    assert approved[0]["request"] == record
    usage = CliRunner().invoke(app, ["request", "deny", record, "-c", str(server.config)])
    assert usage.exit_code == 2


def test_an_approval_keeps_the_digest_of_the_profile_it_was_given_under(nodes, tmp_path):
    server = nodes[0]
    asker, key = device(server, "SN-107", tmp_path), new_key()
    assert poll(asker, key).status == 202
    approved = run(server, "request", "approve", the_record(server, "SN-107"), "--note", "ok")
    text = (server.directory / "profiles" / "device.yaml").read_bytes()
    digest = approved["profile_digest"]
    assert digest == sha256(text).hexdigest()
    kept = with_ledger(server, lambda ledger: ledger.profile_text(digest))
    assert kept == ("device", text.decode())


def test_a_request_that_a_crash_parked_is_shown_and_not_decided(reviewed):
    at = system_clock()
    decision = DecisionRecord(
        id="d_parked", request_id="r_parked", at=at, operation="simpleenroll", label=None,
        profile="device", profile_digest="0" * 64, identity="SN-9", device_id="SN-9",
        verdict="allow", rule=None, message="allowed", trace='{"gates": [], "plan": null}',
        csr=b"csr",
    )  # fmt: skip
    request = RequestRecord(
        id="r_parked", state="reserved", idempotency_key=b"k", operation="simpleenroll",
        label=None, profile="device", identity="SN-9", device_id="SN-9", credential_id=None,
        decision_id="d_parked", ca="elsewhere", serial_number=7, spki_sha256=b"s" * 32, csr=b"csr",
        plan="{}", created_at=at, updated_at=at,
    )  # fmt: skip

    async def park(ledger):
        await ledger.reserve(Reservation(request, decision), window_start=at)
        await ledger.settle("r_parked", "parked", reason="outcome unknown", at=at)

    with_ledger(reviewed, park)
    [found] = [row for row in run(reviewed, "request", "list") if row["state"] == "parked"]
    assert (found["request"], found["note"]) == ("r_parked", "outcome unknown")
    assert run(reviewed, "request", "list", "--state", "parked") == [found]
    assert run(reviewed, "request", "show", "r_parked")["state"] == "parked"
    assert refused(reviewed, "request", "approve", "r_parked") == (1, "request.state")


def _user():
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


# -- real clients ----------------------------------------------------------------------------------


@contextmanager
def approving(server, name):
    """Approve whatever waits for an identity, as an operator who looks at the queue would."""
    done = threading.Event()
    approved = []

    def work():
        while not done.is_set():
            waiting = run(server, "request", "list", "--state", "waiting")
            for row in (row for row in waiting if row["identity"] == name):
                run(server, "request", "approve", row["request"])
                approved.append(row["request"])
            done.wait(0.2)

    operator = threading.Thread(target=work)
    operator.start()
    try:
        yield approved
    finally:
        done.set()
        operator.join()


@pytest.mark.parametrize(("client", "steps"), [("curl-openssl", 3), ("bouncycastle", 4)])
def test_a_client_collects_what_was_approved(nodes, run_driver, client, steps, tmp_path, need):
    need(*CLIENTS[client])
    server = nodes[0]
    run(server, "device", "add", f"{client}-1", "--profile", "device")
    user, password = server.credential(f"{client}-1", "device", "--device", f"{client}-1")
    with approving(server, f"{client}-1") as approved:
        run_driver(
            f"{client}/run", server.url, server.root, user, password, "ec", tmp_path,
            EST_POLL_SECONDS="1", EST_DNS="",
        )  # fmt: skip
    assert len(approved) == steps
    states = {run(server, "request", "show", record)["state"] for record in approved}
    assert states == {"issued"}


class StrongSwan:
    """strongSwan's pki, which enrolls a device and waits as long as it takes."""

    def __init__(self, server, name, work):
        made = run(server, "device", "add", name, "--profile", "device", "--otp")
        self._command = [
            REPOSITORY / "interop" / "strongswan" / "pending",
            *(server.url, server.root, made["username"], made["password"], "ec", work),
        ]
        self.start()

    def start(self):
        self._process = subprocess.Popen(
            self._command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def cut(self):
        """End it as a power cut would, with everything that it started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()

    def finish(self, seconds):
        output, _ = self._process.communicate(timeout=seconds)
        assert self._process.returncode == 0, output


def await_record(server, name):
    until = time.monotonic() + 30
    while not (found := [row for row in run(server, "request", "list") if row["identity"] == name]):
        assert time.monotonic() < until
        time.sleep(0.1)
    return found[0]["request"]


def collected(server, record, work):
    [certificate] = x509.load_pem_x509_certificates((work / "cert1.pem").read_bytes())
    issued_as = run(server, "request", "show", record)["issued_as"]
    [row] = [row for row in run(server, "cert", "list") if row["request"] == issued_as]
    assert int(row["serial"], 16) == certificate.serial_number


def test_strongswan_that_was_switched_off_collects_what_was_approved(nodes, tmp_path, need):
    """Its own next poll is 60 seconds away: see the slow form below."""
    need(*CLIENTS["strongswan"])
    client = StrongSwan(nodes[0], "SN-200", tmp_path)
    record = await_record(nodes[0], "SN-200")
    client.cut()
    run(nodes[0], "request", "approve", record)
    client.start()
    client.finish(30)
    collected(nodes[0], record, tmp_path)


@pytest.mark.slow
def test_strongswan_waits_through_a_202(nodes, tmp_path, need):
    need(*CLIENTS["strongswan"])
    client = StrongSwan(nodes[0], "SN-201", tmp_path)
    record = await_record(nodes[0], "SN-201")
    run(nodes[0], "request", "approve", record)
    client.finish(120)
    collected(nodes[0], record, tmp_path)


def test_a_client_that_was_denied_is_told_why(nodes, tmp_path, need):
    need(*CLIENTS["strongswan"])
    client = StrongSwan(nodes[0], "SN-202", tmp_path)
    record = await_record(nodes[0], "SN-202")
    client.cut()
    run(nodes[0], "request", "deny", record, "--reason", "stolen")
    client.start()
    with pytest.raises(AssertionError, match="was not issued"):
        client.finish(30)


@pytest.fixture
def run_driver(request):
    """Return the fixture `run`, whose name is taken here."""
    return request.getfixturevalue("run")

"""Mistakes of every kind, told in one run, while a running server keeps what it has."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from cases import case
from cryptography.hazmat.primitives.asymmetric import ec
from device_world import csr, issued, post, session

SIX = """\
version: 1
labels: [interop, simpleenroll]
ca: isuing
registration: none
authenticate:
  - credential: {}
reenrol: {window: 30d}
subject: {as_requested: true}
key: {allow: [EC-P256, EC-P265]}
certificate: {lifetime: soon}
rules:
  - {name: site, when: "divice.id == device.id", message: no}
"""
WRONG = {
    ("interop.yaml", 2, 19): "E203",
    ("interop.yaml", 3, 5): "E200",
    ("interop.yaml", 7, 1): "E105",
    ("interop.yaml", 9, 24): "E204",
    ("interop.yaml", 10, 25): "E104",
    ("interop.yaml", 12, 24): "E208",
}
POLICY = """\
version: 1
require: al
rules:
  - name: key
    verifier: tpm2-certfy
    trust: [nowhere]
  - name: key
    verifier: dice-x509
    environments: [{svn: low}]
    expect: [{claim: ueid}]
    flagz: optional
on_result: {warning: {do: approve}}
"""
WRONG_POLICY = {
    ("gold.yaml", 2, 10): "E104",
    ("gold.yaml", 5, 15): "E210",
    ("gold.yaml", 6, 13): "E201",
    ("gold.yaml", 7, 11): "E206",
    ("gold.yaml", 9, 26): "E104",
    ("gold.yaml", 10, 14): "E104",
    ("gold.yaml", 11, 5): "E105",
    ("interop.yaml", 9, 23): "E253",
}
PLACE = re.compile(r"([a-z]+\.yaml):([0-9]+):([0-9]+): error\[(E[0-9]+)\]")


def places(text: str) -> dict[tuple[str, int, int], str]:
    """Return the code at each place that a text of problems names."""
    return {(name, int(line), int(at)): code for name, line, at, code in PLACE.findall(text)}


@pytest.fixture
def spoilt(new_server, tmp_path):
    """Return a server, and what writes six mistakes into one profile and two into another."""
    server = new_server(tmp_path / "s", "--interop")

    def spoil() -> None:
        folder = server.directory / "profiles"
        (folder / "interop.yaml").write_text(SIX)
        (folder / "other.yaml").write_text(
            "version: 1\nlabels: [other]\nca: nowhere\nsubject: {common_name: {from: device.id}}\n"
            "authenticate: [credential: {}]\nkey: {allow: [EC-P256]}\ncertificate: {}\n"
        )

    return server, spoil


def check(server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "est_server.cli", "config", "check", "-c", server.config]
    return subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)


def test_six_mistakes_have_six_places_and_exit_code_3(spoilt):
    server, spoil = spoilt
    assert check(server).returncode == 0
    spoil()
    done = check(server)
    assert done.returncode == 3
    found = places(done.stderr)
    assert {at: code for at, code in found.items() if at[0] == "interop.yaml"} == WRONG
    assert sorted(code for at, code in found.items() if at[0] == "other.yaml") == ["E106", "E200"]
    for hint in ("'issuing'", "'reenroll'", "'EC-P256'", "like 90d", "take another name"):
        assert hint in done.stderr
    assert "8 errors" in done.stderr
    problems = json.loads(check(server, "-o", "json").stderr)["problems"]
    assert sum(problem["severity"] == "error" for problem in problems) == 8


def test_a_policys_mistakes_are_told_in_one_run(new_server, tmp_path):
    """Those of form beside those of verifiers, trust stores and the profile that names it."""
    server = new_server(tmp_path / "s", "--interop")
    policy = server.directory / "policies" / "gold.yaml"
    policy.parent.mkdir(exist_ok=True)
    policy.write_text(POLICY)
    profile = server.directory / "profiles" / "interop.yaml"
    profile.write_text(
        "version: 1\nlabels: [interop]\nca: issuing\nregistration: none\n"
        "authenticate: [credential: {}]\nsubject: {as_requested: true}\n"
        "key: {allow: [EC-P256]}\ncertificate: {lifetime: 90d}\nattestation: {policy: gold}\n"
    )
    done = check(server)
    assert done.returncode == 3
    assert places(done.stderr) == WRONG_POLICY
    assert "8 errors" in done.stderr


def logged(server, event: str, timeout: float = 20.0) -> dict[str, object]:
    """Return the first line of the log with this event; wait for it."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        for line in (server.directory / "serve.log").read_text().splitlines():
            if line.startswith("{") and json.loads(line)["event"] == event:
                return json.loads(line)
        time.sleep(0.05)
    pytest.fail(f"the server did not log {event}")


@case(172)
async def test_a_running_server_tells_all_six_and_keeps_serving(spoilt, serve):
    server, spoil = spoilt
    with serve(server):
        user = server.credential("u", "interop")
        spoil()
        ready = logged(server, "server.ready")
        os.kill(int(str(ready["pid"])), signal.SIGHUP)
        kept = logged(server, "config.kept")
        assert WRONG.items() <= places(str(kept["error"])).items()
        assert kept["config"] == ready["config"]
        async with session(server, user) as client:
            # the mistakes would give no P-384 key a certificate, and no label its profile
            body = csr("still", ec.generate_private_key(ec.SECP384R1()))
            status, answer, _ = await post(client, server, body, "interop/simpleenroll")
        assert (status, issued(answer).subject.rfc4514_string()) == (200, "CN=still")

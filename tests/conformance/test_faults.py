"""Every rule broken once: the kit must see it, check by check."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import broken_server  # noqa: F401 - declares the faults
import pytest
from est_process import REPOSITORY
from faults import FAULTS
from kit_expectations import UNBROKEN

from interop.conformance.run import cases, put
from interop.conformance.target import Target

BY_NAME = {one.name: one for one in cases()}


@pytest.fixture(scope="module")
def broken(faulty_lab, kit_targets):
    """Return a function that puts a fault in and gives the kit's targets under a label."""
    targets = kit_targets(faulty_lab, seconds=2)
    log = faulty_lab.directory / "serve.log"
    lines = log.read_text().splitlines()
    (pid,) = (json.loads(line)["pid"] for line in lines if '"server.ready"' in line)
    told = faulty_lab.directory / "faulty.txt"

    def turn(name: str, label: str):
        told.unlink(missing_ok=True)
        (faulty_lab.directory / "fault.txt").write_text(name)
        os.kill(pid, signal.SIGUSR1)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if told.exists() and told.read_text() == name:
                return [Target(one.options, one.version) for one in targets[label]]
            if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":  # dead, for all others too
                pytest.fail(f"{name} ended the server:\n{log.read_text()[-2000:]}")
            time.sleep(0.02)
        pytest.fail(f"{name} is not in")

    yield turn
    turn("none", "interop")


@pytest.mark.parametrize("name", [name for name, one in FAULTS.items() if one.checks])
def test_the_kit_finds(name, broken):
    fault = FAULTS[name]
    targets = broken(name, fault.label)
    for check in fault.checks:
        states = {put(BY_NAME[check], target).state for target in targets}
        assert "fail" in states, f"{check} does not see it: {states}"


def test_every_check_is_seen_to_fail_or_is_listed():
    broken_by_some = {check for fault in FAULTS.values() for check in fault.checks}
    known = broken_by_some | UNBROKEN.keys()
    assert BY_NAME.keys() == known


def test_a_failure_shows_what_was_exchanged(faulty_lab, broken):
    broken("answers_are_chunked", "interop")
    arguments = [f"https://{faulty_lab.est}", "--ca", str(faulty_lab.root), "--only", "14"]

    def kit(*more):
        return subprocess.run(
            [sys.executable, "-m", "interop.conformance", *arguments, "--tls", "1.3", *more],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    table = kit("-v")
    assert table.returncode == 1
    assert "FAIL   14  TLS 1.3  Every 200 has a Content-Length" in table.stdout
    assert "> b'GET /.well-known/est/cacerts HTTP/1.1\\r\\n'" in table.stdout
    assert "< b'Transfer-Encoding: chunked\\r\\n'" in table.stdout
    (outcome,) = json.loads(kit("-o", "json").stdout)["outcomes"]
    assert (outcome["state"], outcome["detail"]) == ("fail", "cacerts: the body comes in chunks")
    sent, received = outcome["exchanges"][0]
    assert sent["sent"]
    assert "chunked" in received["octets"]

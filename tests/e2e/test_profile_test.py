"""`profile test` without an asker: every gate, and a refusal."""

from __future__ import annotations

import json
import subprocess

import pytest
from device_world import csr
from est_process import COMMAND, REPOSITORY


def tried(server, profile, request, *options):
    return subprocess.run(
        [*COMMAND, "profile", "test", profile, "--csr", request, "-c", server.config, *options],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "profile"), [("strict_server", "device"), ("interop_server", "interop")]
)
def test_nobody_asks_and_every_gate_is_shown(request, kind, profile, tmp_path):
    server = request.getfixturevalue(kind)
    body = tmp_path / "device.b64"
    body.write_bytes(csr("device"))
    shown = tried(server, profile, body)
    assert shown.returncode == 1, shown
    lines = shown.stdout.splitlines()
    assert any("✗" in line and "authentication.missing" in line for line in lines)
    assert any("✓" in line and f"{profile}.yaml:" in line and " key" in line for line in lines)
    found = json.loads(tried(server, profile, body, "-o", "json").stdout)
    assert (found["verdict"], found["rule"], found["plan"]) == (
        "deny", "authentication.missing", None,
    )  # fmt: skip
    assert len(found["gates"]) > 5


def test_one_asker_at_most(strict_server, tmp_path):
    body = tmp_path / "device.b64"
    body.write_bytes(csr("device"))
    done = tried(strict_server, "device", body, "--device", "SN-1", "--username", "u")
    assert done.returncode == 2

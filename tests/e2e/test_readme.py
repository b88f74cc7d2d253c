"""The README's first five minutes, executed as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from est_process import REPOSITORY, free_addresses

SECTION = "## Five minutes by hand"
READY = "until curl --silent --insecure --fail https://{admin}/readyz; do sleep 0.1; done"
PASSWORD = "$(sed -n 's/^password  *//p' device.txt)"


def quickstart():
    text = (REPOSITORY / "README.md").read_text()
    [block] = re.findall(r"```sh\n(.*?)```", text[text.index(SECTION) :], re.DOTALL)[:1]
    return block


def with_free_ports(block):
    """Return the block with what a reader does by hand: other ports, a wait, a password copied."""
    est, public, admin = free_addresses(3)
    listeners = f"--est {est} --public {public} --admin {admin}"
    wanted = (
        ("--dns localhost --yes", f"--dns localhost {listeners} --yes"),
        (":8443/", f":{est.rpartition(':')[2]}/"),
        ("serve -c pki/server.yaml &", f"serve -c pki/server.yaml 2> serve.log &\n{READY}\n#"),
        ("--otp -c pki/server.yaml", "--otp -c pki/server.yaml | tee device.txt"),
        ("SN-0001:PASSWORD", f"SN-0001:{PASSWORD}"),
    )
    for old, new in wanted:
        assert old in block, f"README's quickstart has no {old!r} any more"
        quoted = f'"{new}"' if PASSWORD in new else new
        block = block.replace(old, quoted.format(admin=admin))
    return block


def test_the_quickstart_works_when_pasted(need, tmp_path):
    need("openssl curl", "openssl", "curl")
    script = "set -euo pipefail\ntrap 'kill %1; wait' EXIT\n" + with_free_ports(quickstart())
    commands = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": commands},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "device.pem: OK" in done.stdout
    assert re.search(r"root fingerprint  SHA256 ([0-9A-F]{2}:){31}", done.stdout)
    explained = done.stdout[done.stdout.index("device.pem: OK") :]
    assert "✓" in explained
    assert "✗" not in explained
    assert re.search(r"device\.yaml:\d+", explained)

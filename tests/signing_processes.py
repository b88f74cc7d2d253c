"""The signing processes of a server that runs, for tests that kill them."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path


def ready_pid(server):
    """Return the process of a server that was started once."""
    lines = (server.directory / "serve.log").read_text().splitlines()
    [ready] = [json.loads(line) for line in lines if '"server.ready"' in line]
    return int(ready["pid"])


def signers(parent):
    """Return the signing processes of a server."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
            if int(stat[1]) == parent and b"backends.pkcs11_process" in command:
                found.append(int(folder.name))
    return found

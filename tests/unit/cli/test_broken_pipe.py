"""A reader that has seen enough."""

from __future__ import annotations

import os
import subprocess

from est_process import COMMAND


def test_nothing_is_said_when_nobody_reads_any_more():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nowhere:
        done = subprocess.run(
            [*COMMAND, "config", "schema", "server"],
            stdout=nowhere, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (141, "")

"""`make fuzz-attestation` finds what is wrong, and passes over what is not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="atheris is for Linux on x86-64")


@pytest.mark.parametrize(
    ("target", "finding"),
    [
        ("hidden", "IndexError: a defect"),
        ("slow", "ms of processor time"),
        ("greedy", "MemoryError"),
        ("sound", None),
    ],
)
def test_a_planted_defect_is_found(tmp_path, target, finding):
    done = subprocess.run(
        [
            *(sys.executable, Path(__file__).with_name("coverage_guided.py"), target),
            *("--module", "planted_targets", "--corpus", tmp_path),
            *("--seconds", "30" if finding else "1"),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == (1 if finding else 0), done.stdout + done.stderr
    assert (finding or "0 with a finding") in done.stdout

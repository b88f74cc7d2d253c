"""Builds the module that is slow to sign."""

from __future__ import annotations

import subprocess
from pathlib import Path


def build_slow_sign(folder: Path) -> Path:
    """Return the module; SLOW_SIGN_MODULE and SLOW_SIGN_US have to say whose, and how slow."""
    made = folder / "slow_sign.so"
    source = Path(__file__).with_suffix(".c")
    command = ("gcc", "-shared", "-fPIC", "-o", made, source, "-ldl")
    subprocess.run(command, check=True, capture_output=True)
    return made

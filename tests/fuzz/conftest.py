"""What fuzzing tests share: a loop, and at the end of a long run what it tried."""

from __future__ import annotations

import asyncio

import pytest
from fuzzing import INPUTS, TALLIES


@pytest.fixture(scope="module")
def runner():
    """Return what runs the coroutines of a module's tests on one loop."""
    with asyncio.Runner() as found:
        yield found


def pytest_terminal_summary(terminalreporter):
    if not INPUTS:
        return
    terminalreporter.section("inputs")
    for kind, found in TALLIES.items():
        slowest = f"{found.slowest * 1000:.1f} ms of processor time at most"
        terminalreporter.line(f"{kind:12} {found.inputs:8}   {slowest}")
    terminalreporter.line(f"{'together':12} {sum(found.inputs for found in TALLIES.values()):8}")

"""What a long run tried, at its end."""

from __future__ import annotations

from fuzzing import INPUTS, TALLIES


def pytest_terminal_summary(terminalreporter):
    if not INPUTS:
        return
    terminalreporter.section("inputs")
    for kind, found in TALLIES.items():
        slowest = f"{found.slowest * 1000:.1f} ms of processor time at most"
        terminalreporter.line(f"{kind:12} {found.inputs:8}   {slowest}")
    terminalreporter.line(f"{'together':12} {sum(found.inputs for found in TALLIES.values()):8}")

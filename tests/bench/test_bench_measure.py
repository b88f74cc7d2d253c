"""The arithmetic of the benches, and that rounds take turns."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from measure import Contender, Driven, Figure, Round, Rounds, cpu_seconds, interleave, rate, ratio


def rounds(name: str, *operations_and_cpu: tuple[int, float]) -> Rounds:
    return Rounds(name, tuple(Round(n, 2.0, cpu, 0.0) for n, cpu in operations_and_cpu))


def test_a_ratio_compares_within_each_round():
    ours = rounds("ours", (100, 1.0), (100, 2.0), (300, 1.0))
    theirs = rounds("theirs", (200, 1.0), (50, 1.0), (300, 1.0))
    by_cpu, by_clock = ratio("r", ours, theirs, 0.6)
    assert by_cpu.values == (0.5, 1.0, 1.0)
    assert by_clock.values == (0.5, 2.0, 1.0)
    assert (by_cpu.median, by_cpu.met) == (1.0, True)
    assert by_clock.met is None


def test_rounds_of_different_number_are_not_compared():
    with pytest.raises(ValueError, match="zip"):
        ratio("r", rounds("ours", (1, 1.0)), rounds("theirs", (1, 1.0), (1, 1.0)))


@pytest.mark.parametrize(
    ("values", "bound", "met"),
    [
        ((2600.0, 2400.0, 2500.0), "at least", True),
        ((2600.0, 2400.0, 2499.0), "at least", False),
        ((0.2, 9.0, 0.3), "at most", True),
        ((0.2, 0.4, 0.31), "at most", False),
    ],
)
def test_the_median_meets_a_target_or_misses_it(values, bound, met):
    assert Figure("f", values, 2500 if bound == "at least" else 0.3, bound).met is met


def test_a_rate_is_per_second_of_the_servers_cpu():
    assert rate("r", rounds("ours", (1000, 0.5), (1000, 0.25))).values == (2000.0, 4000.0)


def test_contenders_take_turns_and_the_first_round_is_thrown_away():
    turns: list[str] = []

    def contender(name: str) -> Contender:
        def drive() -> Driven:
            turns.append(name)
            sum(range(2_000_000))  # some CPU, so that no rate divides by nothing
            return Driven(10, 0.0)

        return Contender(name, os.getpid(), lambda: turns.append(f"({name})"), drive)

    found = interleave([contender("a"), contender("b")], 2)
    one_way, other_way = ["(a)", "a", "(b)", "b"], ["(b)", "b", "(a)", "a"]
    assert turns == one_way + other_way + one_way
    assert [(one.name, len(one.rounds)) for one in found] == [("a", 2), ("b", 2)]
    assert all(one.operations == 10 and one.wall > 0 for one in found[0].rounds)


def test_a_child_is_charged_to_its_server():
    busy = "import os\nif os.fork():\n    os.wait()\nwhile True:\n    pass"
    process = subprocess.Popen([sys.executable, "-c", busy], start_new_session=True)
    try:
        until = time.monotonic() + 60
        while cpu_seconds(process.pid) < 0.5:
            assert time.monotonic() < until, "the child's time is not counted"
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, 9)
        process.wait()

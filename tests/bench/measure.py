"""Rounds of work against servers, and what each round cost whom.

A machine that does other things too makes seconds on the clock a weak measure. So contenders take
turns in short rounds, each is charged the CPU time of its own server process, and what is compared
is compared within a round: a slow minute slows both sides of a ratio.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Driven:
    """What the clients say about a round.

    Attributes:
        operations: how many were asked for and answered as they should be.
        client_cpu: seconds of CPU that all client processes took.
        latencies: seconds from each request of a kept connection to its answer.
    """

    operations: int
    client_cpu: float
    latencies: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Contender:
    """One server doing one kind of work.

    Attributes:
        name: what the table calls it.
        pid: the server's process; its children count too.
        prepare: gets a round's requests ready; nobody is charged for it.
        drive: sends them and waits for the last answer.
    """

    name: str
    pid: int
    prepare: Callable[[], None]
    drive: Callable[[], Driven]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one contender; seconds."""

    operations: int
    wall: float
    server_cpu: float
    client_cpu: float
    latencies: tuple[float, ...] = ()

    @property
    def per_cpu_second(self) -> float:
        """Operations in a second of the server's CPU."""
        return self.operations / self.server_cpu

    @property
    def per_second(self) -> float:
        """Operations in a second on the clock."""
        return self.operations / self.wall

    @property
    def busy(self) -> float:
        """The server's part of one core; well below 1, its clients or the disk set the pace."""
        return self.server_cpu / self.wall


@dataclass(frozen=True, slots=True)
class Rounds:
    """All rounds of one contender, in the order of their turns."""

    name: str
    rounds: tuple[Round, ...]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number that has a target.

    Attributes:
        name: what it is, with its unit.
        values: one of each round.
        target: the bound, None without one.
        bound: which side of the target is good.
    """

    name: str
    values: tuple[float, ...]
    target: float | None = None
    bound: Literal["at least", "at most"] = "at least"

    @property
    def median(self) -> float:
        """The value that stands for all."""
        return median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median is on the target's good side."""
        if self.target is None:
            return None
        found = self.median
        return found >= self.target if self.bound == "at least" else found <= self.target


def interleave(contenders: Sequence[Contender], rounds: int) -> list[Rounds]:
    """Let the contenders take turns; every other round in reverse, the first is thrown away."""
    kept: list[list[Round]] = [[] for _ in contenders]
    for number in range(rounds + 1):
        turns = list(zip(contenders, kept, strict=True))
        for contender, found in reversed(turns) if number % 2 else turns:
            one = _round(contender)
            if number:
                found.append(one)
    return [
        Rounds(contender.name, tuple(found))
        for contender, found in zip(contenders, kept, strict=True)
    ]


def ratio(name: str, ours: Rounds, theirs: Rounds, target: float | None = None) -> list[Figure]:
    """Return our rate as a part of theirs, round by round: by CPU, then by the clock."""
    pairs = list(zip(ours.rounds, theirs.rounds, strict=True))
    return [
        Figure(
            f"{name}, per server CPU-second",
            tuple(we.per_cpu_second / they.per_cpu_second for we, they in pairs),
            target,
        ),
        Figure(
            f"{name}, on the clock", tuple(we.per_second / they.per_second for we, they in pairs)
        ),
    ]


def rate(name: str, ours: Rounds, target: float | None = None) -> Figure:
    """Return operations per server CPU-second."""
    return Figure(name, tuple(one.per_cpu_second for one in ours.rounds), target)


def _round(contender: Contender) -> Round:
    contender.prepare()
    before, started = cpu_seconds(contender.pid), perf_counter()
    driven = contender.drive()
    wall, after = perf_counter() - started, cpu_seconds(contender.pid)
    return Round(driven.operations, wall, after - before, driven.client_cpu, driven.latencies)


def cpu_seconds(pid: int) -> float:
    """Return the user and system time of a process, its threads and its living children."""
    process = Path(f"/proc/{pid}")
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    children = [
        int(child)
        for task in (process / "task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    # fields after the command's name: utime and stime are 14 and 15 of proc(5), the state is 3
    own = (int(fields[11]) + int(fields[12])) / _TICKS
    return own + sum(cpu_seconds(child) for child in children)

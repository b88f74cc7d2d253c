"""How many inputs a fuzzing test tries, and what one of them may cost.

The default run is short and knows no clock. The long form, `make fuzz`, sets FUZZ to the number of
inputs for all codecs together and as many for the HTTP surface; there, no input may cost more than
`MOST_CPU` of processor time.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable

Value = TypeVar("Value")

INPUTS = int(os.environ.get("FUZZ", "0"))
MOST_CPU = 0.05  # seconds
TRIES = 3  # a collection of garbage may fall into one


@dataclass(slots=True)
class Tally:
    """What was tried of one kind."""

    inputs: int = 0
    slowest: float = 0.0  # seconds of processor time


TALLIES: dict[str, Tally] = {}


def examples(short: int, share: float) -> settings:
    """Return hypothesis' settings: `short` examples, or in the long form that share of INPUTS."""
    return settings(
        max_examples=int(INPUTS * share) if INPUTS else short,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        database=None,
    )


def tally(kind: str) -> Tally:
    return TALLIES.setdefault(kind, Tally())


def counted(kind: str, call: Callable[[], Value], most: float = MOST_CPU) -> Value:
    """Return what `call` does with one input; in the long form, see that it is quick."""
    found = tally(kind)
    found.inputs += 1
    if not INPUTS:
        return call()
    start = time.thread_time()
    try:
        return call()
    finally:
        spent = time.thread_time() - start
        if spent > most:
            spent = min(spent, *(_spent(call) for _ in range(TRIES - 1)))
        found.slowest = max(found.slowest, spent)
        assert spent <= most, f"{kind}: {spent * 1000:.1f} ms"


def _spent(call: Callable[[], object]) -> float:
    start = time.thread_time()
    with contextlib.suppress(Exception):  # only the time matters here
        call()
    return time.thread_time() - start

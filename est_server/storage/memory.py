"""Ephemeral state in the process: the default, and what is left when Redis is away."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.ephemeral import Budget, Ephemeral

MOST_KEYS = 100_000


class MemoryEphemeral:
    """Counts by the generic cell rate algorithm: one number a key.

    The number is the time at which the key's budget is whole again. An attempt moves it on by
    ``seconds / attempts``; an attempt that would move it beyond ``seconds`` from now is refused.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._whole_at: OrderedDict[str, float] = OrderedDict()

    async def spend(self, key: str, budget: Budget) -> int:
        """Take one attempt; see `Ephemeral.spend`."""
        now = self._clock()
        after = max(self._whole_at.get(key, now), now) + budget.seconds / budget.attempts
        if after - now > budget.seconds + 1e-9:
            return math.ceil(after - now - budget.seconds)
        self._whole_at[key] = after
        self._whole_at.move_to_end(key)
        while len(self._whole_at) > MOST_KEYS:
            self._whole_at.popitem(last=False)
        return 0

    async def peek(self, key: str, budget: Budget) -> int:
        """Tell what `spend` would say; see `Ephemeral.peek`."""
        now = self._clock()
        after = max(self._whole_at.get(key, now), now) + budget.seconds / budget.attempts
        wait = after - now - budget.seconds
        return math.ceil(wait) if wait > 1e-9 else 0

    async def close(self) -> None:
        """Forget everything."""
        self._whole_at.clear()


_: Callable[[], Ephemeral] = MemoryEphemeral

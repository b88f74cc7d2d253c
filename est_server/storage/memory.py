"""Ephemeral state in the process: the default, and what is left when Redis is away."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.ephemeral import Budget, Ephemeral, Topic, Wakes

MOST_KEYS = 100_000
_SHORT = 16  # octets of a key's digest
_ROUNDING = 1e-6  # seconds


def short(key: str) -> bytes:
    """Return a digest of a key: keys hold what anyone sends, of any length."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=_SHORT).digest()


class MemoryWakes:
    """Hears what is notified in this process."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()

    async def wait(self, seconds: float) -> bool:
        """Return whether something was notified; see `Wakes.wait`."""
        try:
            async with asyncio.timeout(seconds):
                await self.heard.wait()
        except TimeoutError:
            return False
        self.heard.clear()
        return True


class MemoryEphemeral:
    """Counts by the generic cell rate algorithm: one number a key.

    The number is the time at which the key's budget is whole again. An attempt moves it on by
    ``seconds / attempts``; an attempt that would move it beyond ``seconds`` from now is refused.

    Args:
        clock: seconds that never go back.
        most_keys: how many keys are remembered; the one that spent longest ago goes first.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, most_keys: int = MOST_KEYS
    ) -> None:
        self._clock = clock
        self._most_keys = most_keys
        self._whole_at: OrderedDict[bytes, float] = OrderedDict()
        self._wakes: dict[str, list[MemoryWakes]] = {}

    away = False

    async def notify(self, topic: Topic) -> None:
        """Wake who waits; see `Ephemeral.notify`."""
        for wakes in self._wakes.get(topic, ()):
            wakes.heard.set()

    def notify_all(self) -> None:
        """Wake everybody: what was notified may have been lost."""
        for found in self._wakes.values():
            for wakes in found:
                wakes.heard.set()

    def wakes(self, topic: Topic) -> Wakes:
        """Return what hears a topic; see `Ephemeral.wakes`."""
        made = MemoryWakes()
        self._wakes.setdefault(topic, []).append(made)
        return made

    async def spend(self, key: str, budget: Budget) -> int:
        """Take one attempt; see `Ephemeral.spend`."""
        name = short(key)
        wait, whole_at = self._after(name, budget)
        if not wait:
            self._whole_at[name] = whole_at
            self._whole_at.move_to_end(name)
            if len(self._whole_at) > self._most_keys:
                self._whole_at.popitem(last=False)
        return wait

    async def peek(self, key: str, budget: Budget) -> int:
        """Tell what `spend` would say; see `Ephemeral.peek`."""
        return self._after(short(key), budget)[0]

    async def close(self) -> None:
        """Forget everything."""
        self._whole_at.clear()

    def _after(self, name: bytes, budget: Budget) -> tuple[int, float]:
        """Return the seconds to wait for an attempt and when the budget is whole after it."""
        now = self._clock()
        whole_at = max(self._whole_at.get(name, now), now) + budget.seconds / budget.attempts
        wait = whole_at - now - budget.seconds
        return (math.ceil(wait) if wait > _ROUNDING else 0), whole_at


_: Callable[[], Ephemeral] = MemoryEphemeral

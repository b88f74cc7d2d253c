"""State whose loss costs a retry and nothing more: rate limits now, caches and wake-ups later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Budget:
    """How many attempts in which time.

    Attributes:
        attempts: how many are allowed at once, at least 1.
        seconds: the time after which all of them are free again; each one by itself comes back
            after ``seconds / attempts``.
    """

    attempts: int
    seconds: int


class Ephemeral(Protocol):
    """Counts attempts.

    Durability: none. Concurrency: each call is atomic. When the store behind it is away, an
    adapter counts in the process and says so in the log; it never raises.
    """

    async def spend(self, key: str, budget: Budget) -> int:
        """Take one attempt for `key`.

        Returns:
            0 if the attempt is within `budget`, else the whole seconds until one is free again.
        """
        ...

    async def peek(self, key: str, budget: Budget) -> int:
        """Tell what `spend` would return, without taking an attempt."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...

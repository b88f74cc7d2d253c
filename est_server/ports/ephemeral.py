"""State whose loss costs a retry and nothing more: counts of attempts, and wake-ups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

Topic = Literal["revocations"]
REVOCATIONS: Final = "revocations"
"""There are new revocation events in the ledger."""


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


class Wakes(Protocol):
    """Hears what is notified of one topic, from the moment it was made."""

    async def wait(self, seconds: float) -> bool:
        """Return True as soon as something was notified since the last call, else False in time.

        What is notified between two calls is heard by the second, however often it was.
        """
        ...


class Ephemeral(Protocol):
    """Counts attempts, and wakes processes that would otherwise look again a moment later.

    Durability: none. Concurrency: each call is atomic. When the store behind it is away, an
    adapter counts and wakes in its process only and says so in the log; it never raises.
    """

    @property
    def away(self) -> bool:
        """Whether this process is on its own, although it should not be."""
        ...

    async def notify(self, topic: Topic) -> None:
        """Wake everybody who waits for a topic, in this process at once, in others promptly.

        A notification may be lost: whoever waits looks by himself from time to time.
        """
        ...

    def wakes(self, topic: Topic) -> Wakes:
        """Return what hears a topic from now on; the event loop runs."""
        ...

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

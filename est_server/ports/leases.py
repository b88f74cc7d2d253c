"""Leases: who does work that one process should do, and a number that tells old holders from new.

A lease is no lock. A process that was stopped may go on for a moment and not know that another has
its lease, so what it writes carries the token, and the ledger refuses an outdated one in the very
transaction: two holders are harmless. Whether a holder is silent is measured by whoever waits, on a
clock of his own; the clocks of two machines are never compared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Fence:
    """What a holder's writes carry.

    Attributes:
        lease: its name.
        token: higher for each holder after another.
    """

    lease: str
    token: int


@dataclass(frozen=True, slots=True)
class Lease:
    """A lease as it stands.

    Attributes:
        name: what it is for.
        token: of its last holder.
        beat: grows with each sign of life; starts again with each token.
        holder: the server process, as in `NodeStatus`; None when it was given back.
        seen_at: its last sign of life, by its own clock; for people.
    """

    name: str
    token: int
    beat: int
    holder: str | None
    seen_at: datetime


class Leases(Protocol):
    """The part of the ledger behind leases; durability and failures are those of `Ledger`."""

    async def get(self, name: str) -> Lease | None:
        """Return a lease; None if nobody ever had it."""
        ...

    async def all(self) -> tuple[Lease, ...]:
        """Return every lease by name."""
        ...

    async def take(self, name: str, holder: str, *, seen: Lease | None, at: datetime) -> Fence:
        """Become the holder, with a new token, whoever was it.

        Args:
            name: of the lease.
            holder: this process.
            seen: what the caller takes its decision from.
            at: now.

        Raises:
            Conflict: ``lease.taken``: it is not as `seen` any more.
        """
        ...

    async def renew(self, fence: Fence, *, at: datetime) -> None:
        """Give a sign of life.

        Raises:
            Conflict: ``lease.lost``: somebody else has it.
        """
        ...

    async def release(self, fence: Fence, *, at: datetime) -> None:
        """Give it back, so that nobody has to wait; nothing happens if somebody else has it."""
        ...

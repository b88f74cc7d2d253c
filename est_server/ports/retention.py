"""What a ledger may forget, and when: nothing that a list, a proof or a valid certificate needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Cutoffs:
    """How far back a ledger remembers.

    Attributes:
        certificates: certificates that ended before then are forgotten with their requests,
            decisions, evidence and events; None: none is.
        decisions: what was decided before then and issued nothing is forgotten: refusals, reviews
            and requests that came to nothing, credentials that are no use any more, superseded
            lists; None: nothing is.
    """

    certificates: datetime | None = None
    decisions: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows of each kind were, or would be, forgotten."""

    certificates: int = 0
    requests: int = 0
    decisions: int = 0
    reviews: int = 0
    credentials: int = 0
    lists: int = 0

    def __add__(self, other: Forgotten) -> Forgotten:
        """Return both together."""
        return Forgotten(
            self.certificates + other.certificates,
            self.requests + other.requests,
            self.decisions + other.decisions,
            self.reviews + other.reviews,
            self.credentials + other.credentials,
            self.lists + other.lists,
        )

    @property
    def total(self) -> int:
        """All of them."""
        return (
            self.certificates + self.requests + self.decisions
            + self.reviews + self.credentials + self.lists
        )  # fmt: skip


class Retention(Protocol):
    """The part of the ledger that forgets; durability and failures are those of `Ledger`.

    A certificate is kept, however old it is, while a revocation list in force shows it or has yet
    to show it once after its end (RFC 5280 3.3), while its request is unsettled, and while its last
    event is the newest of all, from which the numbers go on. One that was revoked for keyCompromise
    is kept for good, as is the block of its key. The audit log has a leaf for each row that is
    forgotten.
    """

    async def forget(self, cutoffs: Cutoffs, *, limit: int = 200) -> Forgotten:
        """Forget some of what may be forgotten, all of each in one transaction.

        Args:
            cutoffs: how far back is remembered.
            limit: how many of each kind at most.

        Returns:
            What was forgotten; nothing once all is done.
        """
        ...

    async def count(self, cutoffs: Cutoffs) -> Forgotten:
        """Return what may be forgotten at this moment; walks an index, for people who wait."""
        ...

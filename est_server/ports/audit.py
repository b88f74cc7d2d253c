"""The record of what was done, which can be proven not to have been changed afterwards.

A leaf is written in the transaction of the act that it speaks of, and waits. Whoever comes first
(`AuditLog.extend`) gives the waiting leaves their places in the tree, in the order in which they
were written, and signs what the log is then. Several may do so at once: one of them wins, and what
the others tried is undone. Leaves, places and checkpoints never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from datetime import datetime

T = TypeVar("T")

MOST_AT_ONCE = 256
"""Leaves that get their places in one transaction: a few milliseconds of the event loop."""

TileName = tuple[int, int]
"""Level and place of a part of the tree (`est_server.audit.tiles`)."""


@dataclass(frozen=True, slots=True)
class AuditState:
    """How far the log is.

    Attributes:
        size: leaves that have their places.
        waiting: leaves that have none yet.
        newest: the last checkpoint; None before the first.
    """

    size: int
    waiting: int
    newest: str | None


class AuditReader(Protocol):
    """The log and what it speaks of, as of one moment."""

    def size(self) -> int:
        """Return how many places the log has: one more than the last that is taken."""
        ...

    def leaves(self, start: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return leaves and their places from `start` on, in order."""
        ...

    def waiting(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return leaves without a place, and their numbers, behind the number `after`."""
        ...

    def tiles(self, names: Collection[TileName]) -> Mapping[TileName, bytes]:
        """Return those of the tiles that are there."""
        ...

    def tile_names(self) -> Iterator[TileName]:
        """Yield the name of every tile that is there."""
        ...

    def checkpoints(self, after: int, limit: int) -> Sequence[tuple[int, str]]:
        """Return checkpoints and the sizes that they stand under, those above `after`, in order."""
        ...

    def timestamps(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        """Return RFC 3161 tokens over checkpoints and the sizes that they stand under."""
        ...

    def rows(self, table: str) -> Iterator[Mapping[str, Any]]:
        """Yield every row of a table that the log speaks about, in the order of its key."""
        ...

    def derived(self) -> Iterator[tuple[str, str, str, str]]:
        """Yield table, key, column and text of what does not follow from the rest of the ledger."""
        ...


class AuditLog(Protocol):
    """The log of a ledger."""

    async def note(self, act: str, facts: Mapping[str, str], *, at: datetime) -> None:
        """Write a leaf about an act that changes no row."""
        ...

    async def extend(
        self, sign: Callable[[int, bytes, str | None], str] | None
    ) -> tuple[int, str | None]:
        """Give the first waiting leaves their places and keep the checkpoint over all.

        Args:
            sign: returns a signed note over a size and a root; it gets the note before it, too.

        Returns:
            How many leaves got their places (`MOST_AT_ONCE`: more may wait), and the checkpoint, if
            there are any and it is signed.

        Raises:
            Conflict: ``audit.sequenced``: somebody else did it meanwhile.
            BackendUnavailable: ``audit.tree``: the tree is damaged; nothing was changed.
        """
        ...

    async def state(self) -> AuditState:
        """Return how far the log is."""
        ...

    async def places(self, subjects: Collection[str]) -> Sequence[int]:
        """Return the places of the leaves that are found by any of `subjects`, in order."""
        ...

    async def keep_timestamp(self, size: int, token: bytes) -> None:
        """Keep an RFC 3161 token over the checkpoint of a size; a second one changes nothing."""
        ...

    async def at_one_moment(self, look: Callable[[AuditReader], T]) -> T:
        """Return what `look` finds while nothing changes for it; it runs beside the event loop."""
        ...

"""What a publisher is given: who makes the lists of a CA, and the lease he publishes under."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from est_server.ports.crl import CrlKind, Crls, CrlScope
    from est_server.ports.leases import Fence
    from est_server.revocation.planning import Plan


class Exclusive(Protocol):
    """The lease of a publisher; see `est_server.app.leases`."""

    async def fence(self) -> Fence | None:
        """Return what this process' writes carry while it is the holder."""
        ...

    async def take_over(self) -> Fence | None:
        """Become the holder, whoever is it; None if somebody else was faster."""
        ...

    def lost(self) -> None:
        """Note that somebody else is the holder."""
        ...


class ListMaker(Protocol):
    """What makes the lists of one CA: its CRLs, or its compact sets."""

    @property
    def ca(self) -> str:
        """Name of the CA in server.yaml."""
        ...

    @property
    def key_identifier(self) -> bytes:
        """Of the key that signs."""
        ...

    @property
    def kinds(self) -> Sequence[CrlKind]:
        """What is published in a scope."""
        ...

    def all_shards(self) -> Iterator[int]:
        """Yield the shards that there have to be."""
        ...

    def makes(self, shard: int) -> bool:
        """Tell whether the lists of a shard that is there are made here."""
        ...

    def only_at(self, shard: int) -> str | None:
        """Return the URL that certificates of a partial list name."""
        ...

    def plan(self, scope: CrlScope, now: datetime, *, changed: bool, forced: bool) -> Plan | None:
        """Return what is due; see `est_server.revocation.planning.plan`."""
        ...

    def rests_after(self, due: Plan) -> bool:
        """Tell whether these lists took so long that the next should not follow at once."""
        ...

    def next_update(self, due: Plan, kind: CrlKind) -> datetime:
        """Return when a list of this plan ends."""
        ...

    async def make(
        self, crls: Crls, scope: CrlScope, number: int, due: Plan
    ) -> tuple[int, dict[CrlKind, bytes]]:
        """Return the last event that the lists show, and the lists, signed.

        Raises:
            BackendUnavailable: ``ca.signature``, ``compact-set.build``, ``ledger.unavailable``.
        """
        ...

"""Holds a lease for this process, or waits for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from est_server.app.clock import system_clock
from est_server.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.clock import Clock
    from est_server.ports.leases import Fence, Lease, Leases

RENEW_EVERY = 4.0
"""Seconds between signs of life; one is a commit."""
SILENT_FOR = 15.0
"""Seconds without one after which a holder is taken to be gone."""

log = structlog.get_logger("lease")


class NoLease:
    """For a process that leaves the work of a lease to others."""

    async def fence(self) -> None:
        """Have none."""

    async def take_over(self) -> None:
        """Get none."""

    def lost(self) -> None:
        """Nothing to lose."""


@dataclass(slots=True)
class LeaseKeeper:
    """One lease, as this process sees it.

    Attributes:
        leases: the ledger's.
        name: of the lease.
        holder: this process.
        clock: the time, for people.
        elapsed: seconds that never go back; they may go on while this process is stopped.
    """

    leases: Leases
    name: str
    holder: str
    clock: Clock = system_clock
    elapsed: Callable[[], float] = time.monotonic
    _fence: Fence | None = None
    _renewed: float = 0.0
    _seen: Lease | None = None
    _seen_first: float | None = None

    async def fence(self) -> Fence | None:
        """Return what this process' writes carry while it is the holder, else None.

        Raises:
            BackendUnavailable: the ledger is away.
        """
        now = self.elapsed()
        if self._fence is not None and now < self._renewed + RENEW_EVERY:
            return self._fence
        if self._fence is not None:
            try:
                await self.leases.renew(self._fence, at=self.clock())
            except Conflict:
                self.lost()
            else:
                self._renewed = now
                return self._fence
        found = await self.leases.get(self.name)
        if found != self._seen or self._seen_first is None:
            self._seen, self._seen_first = found, now
        free = found is None or found.holder is None
        if free or now > self._seen_first + SILENT_FOR:
            return await self._take(found)
        return None

    async def take_over(self) -> Fence | None:
        """Become the holder, although there is one who shows no sign of doing the work.

        Returns:
            None if somebody else was faster.

        Raises:
            BackendUnavailable: the ledger is away.
        """
        return await self._take(await self.leases.get(self.name))

    def lost(self) -> None:
        """Note that somebody else has it."""
        if self._fence is not None:
            log.info("lease.lost", lease=self.name, token=self._fence.token)
        self._fence = self._seen_first = None

    async def release(self) -> None:
        """Give it back if this process has it.

        Raises:
            BackendUnavailable: the ledger is away; others wait until it was silent for long.
        """
        if self._fence is not None:
            fence, self._fence = self._fence, None
            await self.leases.release(fence, at=self.clock())

    async def _take(self, seen: Lease | None) -> Fence | None:
        now = self.elapsed()
        try:
            self._fence = await self.leases.take(self.name, self.holder, seen=seen, at=self.clock())
        except Conflict:
            self._seen_first = None
            return None
        self._renewed = now
        before = None if seen is None else seen.holder
        log.info("lease.taken", lease=self.name, token=self._fence.token, before=before)
        return self._fence

"""Follows the ledger's revocation events, so that memory never says what the ledger doesn't."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from est_server.ports.revocation import RevocationEvent, Revocations
    from est_server.revocation.ocsp_memory import Lease

POLL_SECONDS = 0.2
"""Between looks: some three of them fit into `ocsp_memory.TRUSTED_FOR`."""

MOST_EVENTS = 1000
"""Behind by more than this, forgetting everything costs less than reading what happened."""


@dataclass(frozen=True, slots=True)
class Follows:
    """Who wants to know about the certificates of one CA.

    Attributes:
        forget: takes the serial number of a certificate whose status changed.
        forget_all: what is known of any certificate may be wrong.
    """

    forget: Callable[[int], None]
    forget_all: Callable[[], None]


@dataclass(slots=True)
class EventFollower:
    """Takes in events and confirms the lease.

    Attributes:
        revocations: the ledger's.
        lease: what it confirms.
        followers: by the CA's name.
        notice: told each event once it was taken in.
    """

    revocations: Revocations
    lease: Lease
    followers: dict[str, Follows] = field(default_factory=dict)
    notice: Callable[[RevocationEvent], None] = lambda _: None

    async def look(self) -> None:
        """Take in what happened since the last look.

        Raises:
            BackendUnavailable: the ledger is away; the lease runs out.
        """
        lease = self.lease
        at = lease.elapsed(), lease.time_of_day()
        newest = await self.revocations.last_event()
        sequence = 0 if newest is None else newest.sequence
        known = lease.sequence
        events: Sequence[RevocationEvent] = ()
        complete = known is not None and 0 <= sequence - known <= MOST_EVENTS
        if complete and sequence != known:
            events = await self.revocations.events(after=known or 0, limit=sequence - (known or 0))
            complete = bool(events) and events[-1].sequence == sequence
        # from here to the end nobody else runs: `AnswerMemory.keep` sees all of it or nothing
        for event in events:
            if (follower := self.followers.get(event.ca)) is not None:
                follower.forget(event.serial_number)
            self.notice(event)
        if not complete:  # the first look, a restored ledger, or very much at once
            for follower in self.followers.values():
                follower.forget_all()
        lease.confirm(sequence, at)

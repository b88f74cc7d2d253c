"""Which devices have fetched the new root: counted while a rollover is published.

A fetch is a device's if its connection shows a certificate of ours or of its manufacturer; anybody
else's is only counted. What is noted waits a moment in memory, so that a fleet that fetches at once
costs one commit; a crash loses that moment, and who is lost counts as not having fetched.
"""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.app.clock import system_clock
from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.enrollment.service import EnrollmentService
    from est_server.ports.rollover import Rollover
    from est_server.ports.tls import TlsFacts

_MOST_WAITING = 10_000


@dataclass(slots=True)
class Followers:
    """Notes who fetches /cacerts.

    Attributes:
        service: has the rulebook and the ledger.
        rollovers: those that are published or switched.
    """

    service: EnrollmentService
    rollovers: Sequence[Rollover] = ()
    _fetched: dict[str, set[str]] = field(default_factory=dict)
    _anonymous: Counter[str] = field(default_factory=Counter)

    def follow(self, rollovers: Sequence[Rollover]) -> None:
        """Count for these from now on."""
        self.rollovers = [one for one in rollovers if one.state in {"published", "switched"}]

    async def fetched(self, label: str | None, tls: TlsFacts) -> None:
        """Note that somebody fetched a label's /cacerts.

        A ledger that can't be read keeps nobody from /cacerts; that fetch is not counted.

        Raises:
            NotFound: there is no such label.
        """
        if self.rollovers:
            with suppress(BackendUnavailable):
                await self._note(label, tls)

    async def _note(self, label: str | None, tls: TlsFacts) -> None:
        rulebook = self.service.rulebook
        profile = rulebook.profile_for(label)
        for rollover in self.rollovers:
            if rollover.ca != profile.model.ca:
                continue
            holder = await rulebook.authenticator.holder(profile, tls.client_chain)
            waiting = self._fetched.setdefault(rollover.successor, set())
            if holder is None:
                self._anonymous[rollover.successor] += 1
            elif len(waiting) < _MOST_WAITING:
                waiting.add(holder)

    async def flush(self) -> None:
        """Write what was noted.

        Raises:
            BackendUnavailable: the ledger can't be written; what was noted is noted still.
        """
        for successor in {*self._fetched, *self._anonymous}:
            identities = sorted(self._fetched.get(successor, ()))
            anonymous = self._anonymous[successor]
            if identities or anonymous:
                await self.service.ledger.rollovers.note_fetches(
                    successor, identities, anonymous=anonymous, at=system_clock()
                )
                self._fetched.get(successor, set()).difference_update(identities)
                self._anonymous[successor] -= anonymous

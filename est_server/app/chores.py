"""What has to be done from time to time beside lists and CAs: queues, superseded certificates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from est_server.app.clock import system_clock
from est_server.app.periodic import Periodic
from est_server.enrollment.supersede import supersede_due
from est_server.ports.ephemeral import REVOCATIONS
from est_server.web import metrics

if TYPE_CHECKING:
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger

_REVIEW_SECONDS = 10.0
_SUPERSEDE_SECONDS = 5.0

log = structlog.get_logger("server")


@dataclass(frozen=True, slots=True)
class Chores:
    """Work on the ledger; several processes that do it are in nobody's way.

    Attributes:
        ledger: the durable record.
        ephemeral: wakes who waits for revocations.
    """

    ledger: Ledger
    ephemeral: Ephemeral

    def works(self) -> tuple[Periodic, ...]:
        """Return what has to be done again and again."""
        return (
            Periodic("review queue", _REVIEW_SECONDS, self._check_reviews),
            Periodic("supersede", _SUPERSEDE_SECONDS, self._supersede),
        )

    async def _check_reviews(self) -> None:
        """Let pending requests and kept evidence expire, and tell how many wait and how long."""
        now = system_clock()
        if expired := await self.ledger.pending.expire(now):
            log.info("requests.expired", count=expired)
        if forgotten := await self.ledger.appraisals.forget_evidence(now):
            log.info("evidence.forgotten", count=forgotten)
        queue = await self.ledger.pending.queue()
        metrics.PENDING_REQUESTS.set(queue.waiting)
        age = 0.0 if queue.oldest is None else (now - queue.oldest).total_seconds()
        metrics.PENDING_OLDEST.set(age)

    async def _supersede(self) -> None:
        if revoked := await supersede_due(self.ledger, system_clock):
            log.info("certificates.superseded", revoked=revoked)
            await self.ephemeral.notify(REVOCATIONS)

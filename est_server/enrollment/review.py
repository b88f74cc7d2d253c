"""Requests that wait for a person (RFC 7030 4.2.3): asked about, answered with 202, collected.

A poll is a whole new request: it is authenticated and decided again, with the profile and the
device of that time; what was said about its question is one more argument of the decision.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from est_server.enrollment.idempotency import match_key
from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.one_time_password import csr_to_keep
from est_server.enrollment.records import decision_record
from est_server.errors import Conflict, Pending
from est_server.ports.pending import Claim, PendingRequest
from est_server.profiles.approval import content_digest, standing

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord, DecisionRecord, Ledger
    from est_server.profiles.decision import Decision, RequestFacts
    from est_server.profiles.profile import Profile

MOST_WAITING = 100
"""Open requests of one identity: enough for a lab behind one user name, too few to fill a disk."""

AGAIN = 60
"""Seconds to the next poll where an answer is under way; strongSwan waits no less."""

log = structlog.get_logger("review")


@dataclass(frozen=True, slots=True)
class Reviews:
    """The use case's side of the review queue.

    Attributes:
        ledger: keeps the records.
    """

    ledger: Ledger

    async def of(self, profile: Profile, facts: RequestFacts) -> PendingRequest | None:
        """Return what is on record about this question, where the profile asks anybody."""
        if profile.model.approval.mode == "none":
            return None
        return await self.ledger.pending.current(match_key(profile.name, facts))

    async def certificate(
        self, review: PendingRequest | None, facts: RequestFacts, since: datetime
    ) -> CertificateRecord | None:
        """Return what this question was answered with since then.

        The CertificationRequestInfo of a poll that is bound to its connection is never the same
        again, so the idempotency key alone would not find it.
        """
        if review is None or review.state != "issued":
            return None
        if review.content != content_digest(facts.csr):
            return None
        found = await self.ledger.pending.certificate(review.id)
        return found if found is not None and found.issued_at >= since else None

    async def wait(
        self,
        profile: Profile,
        facts: RequestFacts,
        decision: Decision,
        review: PendingRequest | None,
    ) -> Pending:
        """Return the answer for a request that waits; its record is written by its first poll.

        Raises:
            Conflict: ``approval.too-many``.
        """
        found = standing(review, decision.at)
        if found is None or found.state == "denied":  # a denial of this content would have refused
            record, row = _pending(profile, facts, decision)
            try:
                await self.ledger.pending.add(record, row, most=MOST_WAITING)
            except Conflict as conflict:
                if conflict.rule != "request.duplicate":
                    raise
            else:
                log.info(
                    "request.waiting",
                    request=record.id,
                    profile=record.profile,
                    identity=record.identity,
                    hint=f"est-server request show {record.id}",
                )
        return Pending(
            decision.rule or "approval.pending",
            decision.message,
            retry_after=decision.retry_after or AGAIN,
        )


def claim_of(
    profile: Profile, facts: RequestFacts, review: PendingRequest | None, now: datetime
) -> Claim:
    """Return what a reservation does to the record of its question."""
    found = standing(review, now)
    approved = found is not None and found.state == "approved"
    return Claim(
        match_key=match_key(profile.name, facts),
        content=content_digest(facts.csr),
        pending_id=found.id if found is not None and approved else None,
    )


def _pending(
    profile: Profile, facts: RequestFacts, decision: Decision
) -> tuple[PendingRequest, DecisionRecord]:
    now = decision.at
    identity = facts.identity.name
    device_id = None if profile.model.registration == "none" else identity
    request_id = new_identifier("r", now)
    row = decision_record(facts, decision, request_id=request_id, device_id=device_id)
    record = PendingRequest(
        id=request_id,
        state="waiting",
        match_key=match_key(profile.name, facts),
        content=content_digest(facts.csr),
        operation=facts.operation,
        label=facts.label,
        profile=profile.name,
        identity=identity,
        device_id=device_id,
        spki_sha256=sha256(facts.csr.spki).digest(),
        csr=csr_to_keep(facts),
        decision_id=row.id,
        created_at=now,
        updated_at=now,
        expires_at=now + profile.model.approval.expires,
    )
    return record, row

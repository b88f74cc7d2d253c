"""Requests that wait for a person's decision (RFC 7030 4.2.3).

A request is found again by who asks for which key, under which label, with which operation: the
bytes of its CSR change with the connection that it is bound to (RFC 7030 3.5), the question does
not. What the answer would certify, names and extensions, is the record's `content`: an approval is
for that and nothing else.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.ports.ledger import (
        CertificateRecord,
        DecisionRecord,
        Operation,
        RequestRecord,
    )

PendingState = Literal["waiting", "approved", "denied", "expired", "issuing", "issued"]
PendingEvent = Literal["approve", "deny", "expire", "claim", "waive", "finish", "release", "return"]
OPEN: frozenset[PendingState] = frozenset({"waiting", "approved", "issuing"})
"""At most one record of a question is in these."""

TRANSITIONS: Mapping[PendingEvent, tuple[frozenset[PendingState], PendingState]] = MappingProxyType(
    {
        # a person decides; an approval can be taken back until it is used
        "approve": (frozenset({"waiting"}), "approved"),
        "deny": (frozenset({"waiting", "approved"}), "denied"),
        # nobody decided, or nobody came for the certificate
        "expire": (frozenset({"waiting", "approved"}), "expired"),
        # a poll found the approval and reserves the certificate: once
        "claim": (frozenset({"approved"}), "issuing"),
        # the same question is answered without a review, since the profile asks for none any more
        "waive": (frozenset({"waiting", "approved"}), "issuing"),
        "finish": (frozenset({"issuing"}), "issued"),
        # the CA made nothing: as before the claim, for one that was approved and one that was not
        "release": (frozenset({"issuing"}), "approved"),
        "return": (frozenset({"issuing"}), "waiting"),
    }
)
"""Event -> the states it may happen in and the state it leads to; nothing else ever happens."""


@dataclass(frozen=True, slots=True)
class PendingRequest:
    """A request that waits, or has waited.

    Attributes:
        match_key: digest of identity, label, operation and key; unique among open records.
        content: digest of the requested names and extensions.
        csr: DER of the first request.
        decision_id: the decision that made it wait; its trace has the certificate's plan.
        expires_at: until then it waits; after a decision, until then that decision stands.
        decided_by: who approved or denied, ``alice@pki-1``; None while nobody has.
        note: what they said; a denial's is told to the device.
        profile_digest: of the profile at the time of an approval; empty if there is none.
        request_id: the request that issues or has issued the certificate.
    """

    id: str
    state: PendingState
    match_key: bytes
    content: bytes
    operation: Operation
    label: str | None
    profile: str
    identity: str
    device_id: str | None
    spki_sha256: bytes
    csr: bytes
    decision_id: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    note: str = ""
    profile_digest: str = ""
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """What a reservation does to the pending record of its question, in its own transaction.

    Attributes:
        match_key: as in `PendingRequest`.
        content: as in `PendingRequest`.
        pending_id: the approved record that is used up; None where no approval is needed, and an
            open record of the same question, if there is one, is answered along with it.
    """

    match_key: bytes
    content: bytes
    pending_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReviewQueue:
    """How many records are ``waiting``, and since when the oldest does."""

    waiting: int
    oldest: datetime | None


class PendingRequests(Protocol):
    """The review queue, a part of the ledger; reservations claim its records (`Claim`)."""

    async def add(self, record: PendingRequest, decision: DecisionRecord, *, most: int) -> None:
        """Write a record that waits and its decision; overdue ones of its question expire.

        Args:
            record: in state ``waiting``.
            decision: that it waits.
            most: how many open records one identity may have.

        Raises:
            Conflict: ``request.duplicate`` if the question has an open record already;
                ``approval.too-many``.
        """
        ...

    async def current(self, match_key: bytes) -> PendingRequest | None:
        """Return the newest record of a question."""
        ...

    async def get(self, request_id: str) -> PendingRequest | None:
        """Return the record of this id, or the one that this request issued for."""
        ...

    async def certificate(self, pending_id: str) -> CertificateRecord | None:
        """Return the certificate that was issued for a record."""
        ...

    async def review(
        self,
        pending_id: str,
        event: Literal["approve", "deny"],
        *,
        by: str,
        note: str,
        profile_digest: str,
        at: datetime,
    ) -> PendingRequest:
        """Write a person's decision and return the record; it stands as long as it had to wait.

        Raises:
            NotFound: ``request.unknown``.
            Conflict: ``request.state`` if the record's state or its age does not allow it.
        """
        ...

    async def expire(self, at: datetime) -> int:
        """Move every record that is overdue at `at` to ``expired`` and return how many."""
        ...

    async def queue(self) -> ReviewQueue:
        """Return how long the queue is."""
        ...

    async def list(
        self, *, state: PendingState | None = None, open_only: bool = False, limit: int = 100
    ) -> Sequence[PendingRequest]:
        """Return records, newest first, at most `limit`."""
        ...

    async def parked(self, *, limit: int = 100) -> Sequence[tuple[RequestRecord, str]]:
        """Return requests whose outcome at their CA is unknown, newest first, and why."""
        ...

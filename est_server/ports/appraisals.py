"""What the evidence of each device came to, when that changed.

A row is written for the first appraisal under a profile and for each one that differs from the one
before; one that is worse says in what. Evidence itself is kept for as long as the profile wants it.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.ports.attestation import Status


@dataclass(frozen=True, slots=True)
class Appraisal:
    """One appraisal that is worth a row.

    Attributes:
        id: sorts by time.
        identity: who showed the evidence, as authenticated.
        status: the policy's.
        rules: the status of each rule, by its name.
        policy: name and SHA-256 of the policy's text.
        worse: what was better the time before, each as ``boot: affirming to contraindicated``;
            empty if nothing was.
        evidence: DER of the AttestationBundle, if it is kept.
        evidence_until: until then.
    """

    id: str
    identity: str
    profile: str
    at: datetime
    status: Status
    rules: Mapping[str, Status]
    policy: tuple[str, str]
    worse: tuple[str, ...] = ()
    evidence: bytes | None = field(default=None, repr=False)
    evidence_until: datetime | None = None


class Appraisals(Protocol):
    """The appraisals of devices, a part of the ledger."""

    async def add(self, appraisal: Appraisal) -> None:
        """Write an appraisal."""
        ...

    async def latest(self, identity: str, profile: str) -> Appraisal | None:
        """Return the newest of an identity under a profile."""
        ...

    async def of(self, identity: str, *, limit: int = 20) -> Sequence[Appraisal]:
        """Return those of an identity, newest first, at most `limit`."""
        ...

    async def forget_evidence(self, at: datetime) -> int:
        """Remove the evidence that is not kept any longer at `at`; return of how many."""
        ...

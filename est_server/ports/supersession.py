"""Certificates that are revoked because others took their place.

The plan to do so is written with the request that issues the other certificate, in one
transaction, and takes effect once that request is ``issued``. Where several requests plan for the
same certificate, the latest time counts: a device that renews again because it lost the answer has
the whole delay again.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

Outcome = Literal["revoked", "was-revoked", "unknown"]
"""What came of a plan: done; somebody was faster; there is no such certificate any more."""


@dataclass(frozen=True, slots=True)
class Supersession:
    """A plan to revoke one certificate as superseded (RFC 5280 5.3.1).

    Attributes:
        ca: name of the CA in server.yaml.
        serial_number: the certificate's.
        due_at: from then on.
    """

    ca: str
    serial_number: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class PlannedSupersession:
    """A plan as the ledger keeps it.

    Attributes:
        plan: what is to be revoked and when.
        request_id: the request that issues the other certificate.
        outcome: None until it is carried out.
        done_at: when that was.
    """

    plan: Supersession
    request_id: str
    outcome: Outcome | None = None
    done_at: datetime | None = None


class Supersessions(Protocol):
    """The plans; a reservation writes them (`est_server.ports.ledger.Reservation`)."""

    async def due(self, at: datetime, *, limit: int = 100) -> Sequence[PlannedSupersession]:
        """Return plans in effect that are to be carried out at `at`, the longest overdue first."""
        ...

    async def settle(self, planned: PlannedSupersession, outcome: Outcome, at: datetime) -> None:
        """Note what came of a plan; the other plans for the same certificate end with it."""
        ...

    async def of_certificate(self, ca: str, serial_number: int) -> Sequence[PlannedSupersession]:
        """Return the plans in effect for a certificate, the latest first."""
        ...

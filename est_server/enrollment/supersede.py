"""Carries out what renewals planned: certificates that others replaced are revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.errors import Conflict, NotFound
from est_server.ports.revocation import Revocation

if TYPE_CHECKING:
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger
    from est_server.ports.supersession import Outcome, PlannedSupersession

ACTOR = "server"


async def supersede_due(ledger: Ledger, clock: Clock) -> int:
    """Revoke every certificate that is due and return how many were.

    A crash between the revocation and its note is harmless: the next turn finds the certificate
    revoked, as it does when another node was faster.
    """
    revoked = 0
    while found := await ledger.supersessions.due(clock()):
        for planned in found:
            outcome = await _revoke(ledger, planned, clock)
            await ledger.supersessions.settle(planned, outcome, clock())
            revoked += outcome == "revoked"
    return revoked


async def _revoke(ledger: Ledger, planned: PlannedSupersession, clock: Clock) -> Outcome:
    order = Revocation(
        ca=planned.plan.ca,
        serial_number=planned.plan.serial_number,
        reason="superseded",
        at=clock(),
        actor=ACTOR,
        note=f"replaced by request {planned.request_id}",
    )
    try:
        await ledger.revocations.revoke([order])
    except Conflict:
        return "was-revoked"
    except NotFound:
        return "unknown"
    return "revoked"

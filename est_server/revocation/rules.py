"""From which status to which a revocation leads: pure, so that every ledger has the same rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Conflict, Malformed

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.ledger import CertificateStatus
    from est_server.ports.revocation import (
        Release,
        Revocation,
        RevocationAction,
        RevocationReason,
    )

HOLD = "certificateHold"
COMPROMISE = "keyCompromise"


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a certificate's revocation.

    Attributes:
        status: of the certificate.
        seen: whether the certificate was ever seen; one that was not is ``presumed`` again when
            it is released.
        reason: None while it is not revoked.
        revoked_at: the revocationDate; None while it is not revoked.
        invalidity_date: since when the key is known or suspected to be bad.
    """

    status: CertificateStatus
    seen: bool
    reason: RevocationReason | None = None
    revoked_at: datetime | None = None
    invalidity_date: datetime | None = None


def revoked(before: Standing, order: Revocation) -> tuple[RevocationAction, Standing]:
    """Return what `order` makes of a certificate.

    RFC 5280 5.3.1 lets a hold end in a revocation or in a release. The revocationDate stays the
    first one, since relying parties have acted on it: it never moves later.

    Raises:
        Conflict: ``revocation.revoked``, ``revocation.held``.
        Malformed: ``revocation.invalidity-date``.
    """
    holds = order.reason == HOLD
    name = f"certificate {order.serial_number:x}"
    if before.status == "revoked" and (order.reason != COMPROMISE or before.reason == COMPROMISE):
        hint = "only keyCompromise may replace another reason"
        raise Conflict(
            "revocation.revoked", f"{name} is revoked already: {before.reason}", hint=hint
        )
    if before.status == "held" and holds:
        raise Conflict("revocation.held", f"{name} is on hold already")
    date = order.at if before.revoked_at is None else min(before.revoked_at, order.at)
    invalid = order.invalidity_date or before.invalidity_date
    if invalid is not None and invalid > date:
        raise Malformed(
            "revocation.invalidity-date",
            f"the invalidity date is after {name}'s revocation at {date.isoformat()}",
            hint="give the date since when the key is known or suspected to be bad",
        )
    after = Standing("held" if holds else "revoked", before.seen, order.reason, date, invalid)
    return ("held" if holds else "revoked"), after


def released(before: Standing, order: Release) -> Standing:
    """Return what a certificate is after its hold.

    Raises:
        Conflict: ``revocation.not-held``.
    """
    if before.status != "held":
        hint = "a revocation for another reason than certificateHold is for good"
        name = f"certificate {order.serial_number:x}"
        raise Conflict("revocation.not-held", f"{name} is {before.status}, not on hold", hint=hint)
    return Standing("good" if before.seen else "presumed", before.seen)

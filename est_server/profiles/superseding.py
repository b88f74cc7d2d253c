"""Which certificates a new one puts out of use, and when (RFC 5280 5.3.1: superseded).

A device that renews and loses the answer asks again with the certificate that it still has. The
same question within the idempotency window has the same answer. Another question, with a new key,
is renewed again as long as nobody has used what was issued before; that one, which nobody holds, is
then superseded together with the old one. Once it has been used, the old certificate renews
nothing: whoever still has it is not the device, or the device went back in time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.ports.supersession import Supersession
from est_server.profiles.decision import Gate
from est_server.profiles.renewal import is_renewal
from est_server.profiles.texts import shown_time

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from est_server.errors import Position
    from est_server.ports.ledger import CertificateRecord
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def looks_at_others(profile: Profile, request: RequestFacts) -> bool:
    """Tell whether the decision needs `RequestFacts.others`."""
    if is_renewal(profile, request):
        return profile.model.reenroll is not None and profile.model.reenroll.old == "supersede"
    rules = profile.model.enroll
    return rules.again != "allow" or rules.most is not None


def supersession(
    profile: Profile, request: RequestFacts, now: datetime
) -> tuple[tuple[Supersession, ...], list[Gate]]:
    """Return what is superseded, and the gate ``supersede``."""
    renewal = profile.model.reenroll
    if is_renewal(profile, request):
        old = request.identity.certificate
        if renewal is None or old is None or renewal.old == "keep":
            return (), []
        at = profile.position("reenroll", "old")
        successors = [
            # by number alone: a rollover lies between the two where their CAs differ
            other
            for other in request.others
            if other.replaces == old.serial_number
        ]
        for successor in successors:
            if successor.seen_at is not None:
                detail = (
                    f"certificate {old.serial_number:x} was replaced by "
                    f"{successor.serial_number:x}, which is in use since "
                    f"{shown_time(successor.seen_at)}"
                )
                return (), [Gate("certificate.replaced", ok=False, detail=detail, position=at)]
        return _plans([old, *successors], renewal.after, now, at)
    if profile.model.enroll.again == "replace":
        at = profile.position("enroll", "again")
        return _plans(list(request.others), profile.model.enroll.after, now, at)
    return (), []


def _plans(
    certificates: list[CertificateRecord], after: timedelta, now: datetime, at: Position | None
) -> tuple[tuple[Supersession, ...], list[Gate]]:
    """Plan for those that would not have expired by then anyway."""
    due = now + after
    late = [one for one in certificates if one.not_after > due]
    if not late:
        return (), []
    numbers = ", ".join(f"{one.serial_number:x}" for one in late)
    detail = f"certificate {numbers} is revoked as superseded {shown_time(due)}"
    plans = tuple(Supersession(one.ca, one.serial_number, due) for one in late)
    return plans, [Gate("supersede", ok=True, detail=detail, position=at)]

"""A device that comes back to a request which its CA has not decided (RFC 7030 4.2.3).

The poll is a whole new request: authenticated, and decided again with the profile and the device of
that time. What the CA is asked is the first request's order, for the bytes of a poll's CSR are new
where it is bound to its connection (RFC 7030 3.5). The certificate is found by the question too,
for the same reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from est_server.enrollment.asking import Asking
from est_server.enrollment.idempotency import match_key
from est_server.enrollment.one_time_password import csr_to_keep
from est_server.enrollment.records import ordered_certificate
from est_server.enrollment.settling import issuance_order
from est_server.errors import Malformed, Pending
from est_server.pki.plan_names import encode_names
from est_server.ports.orders import Ordered, Question
from est_server.profiles.approval import content_digest

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.pki.plan import CertificatePlan
    from est_server.ports.ca import Capabilities, CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import CertificateRecord, Ledger
    from est_server.ports.orders import OpenOrder
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile

PENDING = "ca.pending"


def ordered_for(
    can: Capabilities,
    profile: Profile,
    facts: RequestFacts,
    plan: CertificatePlan,
    made: bytes | None,
) -> Ordered | None:
    """Return what is kept of an order, and asked; None for a CA whose key is ours.

    Args:
        can: of the CA.
        profile: of the request.
        facts: of the request.
        plan: the certificate.
        made: the request for a key that was made here; None for the device's own.

    Raises:
        Malformed: ``csr.password``: the CA would be told a password, since it is sent the request
            as it is.
    """
    if can.local_key or can.holds_signature:
        return None
    csr = made or csr_to_keep(facts)
    if can.forwards_csr and made is None and csr != facts.csr.der:
        raise Malformed("csr.password", "this CA is sent the CSR, which must hold no password")
    return Ordered(csr, encode_names(plan), _question(profile, facts) if can.may_wait else None)


@dataclass(frozen=True, slots=True)
class Polls:
    """Answers devices that come back.

    Attributes:
        ledger: the durable record.
        clock: the time.
    """

    ledger: Ledger
    clock: Clock

    async def order_of(self, profile: Profile, facts: RequestFacts) -> OpenOrder | None:
        """Return the newest order of the same question and content."""
        question = _question(profile, facts)
        found = await self.ledger.orders.asked(question.match_key)
        return None if found is None or found.ordered.question != question else found

    async def certificate(self, order: OpenOrder, since: datetime) -> CertificateRecord | None:
        """Return what an order that was made since then was answered with."""
        if order.request.state != "issued" or order.request.created_at < since:
            return None
        return await self.ledger.orders.certificate(order.request.id)

    async def again(self, authority: CertificateAuthority, order: OpenOrder) -> CertificateRecord:
        """Ask the CA again and return the row of the certificate, once it is durable.

        Raises:
            Pending: ``ca.pending``: not decided yet, or asked too soon.
            Conflict: ``request.state``: another poll asks just now.
            BackendRejected, BackendUnavailable: the CA.
        """
        now = self.clock()
        if order.next_at is not None and order.next_at > now:
            seconds = math.ceil((order.next_at - now).total_seconds())
            raise Pending(PENDING, "the CA has not decided yet", retry_after=seconds)
        await self.ledger.orders.ask(order.request.id, at=now)
        asking = Asking(self.ledger, authority, self.clock)
        record = partial(ordered_certificate, order=order)
        return await asking.ask(issuance_order(order), order.request, record, state="waiting")


def _question(profile: Profile, facts: RequestFacts) -> Question:
    return Question(match_key(profile.name, facts), content_digest(facts.csr))

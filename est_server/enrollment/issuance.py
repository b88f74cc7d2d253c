"""From a reservation to a certificate that is written down; nothing is handed out before that.

A CA that holds its signature (`Capabilities.holds_signature`) lets reserving and recording share
one transaction. For every other CA the reservation is durable before the CA is asked. What happens
if a CA whose key is ours gives no answer is that its serial number is presumed issued; what happens
with a CA elsewhere is in `est_server.enrollment.asking`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from est_server.enrollment.asking import Asking, checked
from est_server.enrollment.reconcile import presumed_certificate
from est_server.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from est_server.ports.ca import CertificateAuthority, IssuanceOrder
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import CertificateRecord, Ledger, Reservation


async def issue_and_record(
    ledger: Ledger,
    authority: CertificateAuthority,
    order: IssuanceOrder,
    reservation: Reservation,
    record: Callable[[x509.Certificate], CertificateRecord],
    *,
    window_start: datetime,
    clock: Clock,
) -> CertificateRecord:
    """Return the row of a new certificate once it is durable.

    Args:
        ledger: the durable record.
        authority: who signs.
        order: the certificate.
        reservation: what must be durable with it, or before it.
        record: makes the row of a certificate that was checked against its plan.
        window_start: see `Ledger.reserve`.
        clock: the time.

    Raises:
        Conflict: as in `Ledger.reserve`; nothing was issued.
        BackendRejected, BackendUnavailable: the CA; the request is settled, or parked.
        Pending: the CA has not decided; the request waits.
    """
    capabilities = authority.capabilities
    if capabilities.holds_signature:
        certificate = await authority.issue(order)
        made = record(checked(authority, order, certificate, clock()))
        await ledger.reserve_and_record(reservation, made, window_start=window_start)
        return made
    await ledger.reserve(reservation, window_start=window_start)
    if not capabilities.local_key:
        asking = Asking(ledger, authority, clock)
        return await asking.ask(order, reservation.request, record, state="new")
    request = reservation.request
    try:
        certificate = await authority.issue(order)
        made = record(checked(authority, order, certificate, clock()))
    except BackendRejected as error:
        state: Literal["parked", "rejected"] = (
            "parked" if error.rule.startswith("issued.") else "rejected"
        )
        await ledger.settle(request.id, state, reason=str(error), at=clock())
        raise
    except BackendUnavailable as error:
        if error.nothing_issued:
            await ledger.settle(request.id, "rejected", reason=str(error), at=clock())
        else:
            await ledger.presume(request.id, presumed_certificate(request))
        raise
    await ledger.record(request.id, made)
    return made

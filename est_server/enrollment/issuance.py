"""From a reservation to a certificate that is written down; nothing is handed out before that.

A CA that holds its signature (`Capabilities.holds_signature`) lets reserving and recording share
one transaction; for every other CA the reservation is durable before the CA is asked, and an
outcome that can't be told is parked for `reconcile` or a person, never guessed.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.check import check_issued

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from est_server.ports.ca import CaCertificates, CertificateAuthority, IssuanceOrder
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
        BackendRejected, BackendUnavailable: the CA; the request is settled.
    """
    if authority.capabilities.holds_signature:
        made = record(await _made(authority, order, clock))
        await ledger.reserve_and_record(reservation, made, window_start=window_start)
        return made
    request_id = reservation.request.id
    await ledger.reserve(reservation, window_start=window_start)
    state: Literal["parked", "rejected"]
    try:
        made = record(await _made(authority, order, clock))
    except BackendRejected as error:
        # an answer that differs from the order exists at the CA: a person must look
        state = "parked" if error.rule.startswith("issued.") else "rejected"
        await ledger.settle(request_id, state, reason=str(error), at=clock())
        raise
    except BackendUnavailable as error:
        state = "rejected" if error.nothing_issued else "parked"
        await ledger.settle(request_id, state, reason=str(error), at=clock())
        raise
    await ledger.record(request_id, made)
    return made


async def _made(
    authority: CertificateAuthority, order: IssuanceOrder, clock: Clock
) -> x509.Certificate:
    certificate = await authority.issue(order)
    check_issued(
        order.plan,
        certificate,
        issuer_of(certificate, authority.certificates()),
        serial_number=order.serial_number,
        own=authority.capabilities.own,
        late=max(clock() - order.ordered_at, timedelta(0)),
    )
    return certificate


def issuer_of(certificate: x509.Certificate, known: CaCertificates) -> x509.Certificate:
    """Return which of a CA's issuers signed `certificate`; the current one where none did."""
    for issuer in (known.issuer, *known.others) if known.others else ():
        with suppress(ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
            certificate.verify_directly_issued_by(issuer)
            return issuer
    return known.issuer

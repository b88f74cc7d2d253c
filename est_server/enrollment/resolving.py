"""What a person can do about a request whose outcome at its CA is unknown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.enrollment.asking import checked, refused_certificate
from est_server.enrollment.records import ordered_certificate
from est_server.enrollment.settling import Settling, issuance_order
from est_server.errors import BackendRejected, Conflict, NotFound
from est_server.pki.check import signed_by

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import CertificateRecord, Ledger
    from est_server.ports.orders import OpenOrder


async def bring(
    ledger: Ledger,
    authority: CertificateAuthority,
    request_id: str,
    certificate: x509.Certificate,
    *,
    by: str,
    clock: Clock,
) -> CertificateRecord:
    """Record the certificate that a CA made for a request, and return its row.

    The device's next request gets it.

    Raises:
        NotFound: ``request.unknown``: it has no order at a CA elsewhere.
        BackendRejected: ``issued.…``: it is not what was ordered; nothing is changed.
        Conflict: ``request.state``; ``serial.duplicate``: it is in the ledger already.
    """
    order = await _order(ledger, request_id)
    checked(authority, issuance_order(order), certificate, clock())
    made = ordered_certificate(certificate, order)
    await ledger.orders.record(request_id, made, reason=f"brought by {by}")
    return made


async def refuse(
    ledger: Ledger,
    authority: CertificateAuthority,
    request_id: str,
    certificate: x509.Certificate,
    *,
    by: str,
    clock: Clock,
) -> bool:
    """Write down, revoked, what a CA made of a request and nobody may have.

    Returns:
        False if the ledger has it already.

    Raises:
        NotFound: ``request.unknown``.
        BackendRejected: ``issued.signature``: the CA did not sign it.
    """
    order = await _order(ledger, request_id)
    known = authority.certificates()
    if not any(signed_by(certificate, issuer) for issuer in (known.issuer, *known.others)):
        raise BackendRejected("issued.signature", "this CA did not sign it")
    return await ledger.orders.keep(
        refused_certificate(order.request, certificate),
        reason="issued.refused: it is not what was ordered",
        actor=by,
        at=clock(),
    )


async def free(ledger: Ledger, request_id: str, *, by: str, clock: Clock) -> None:
    """End a request without a certificate: somebody has seen that there is none in use.

    Raises:
        NotFound: ``request.unknown``.
        Conflict: ``request.state``: it is settled, or a process works on it.
    """
    request = await ledger.request(request_id)
    if request is None:
        raise NotFound("request.unknown", f"there is no request {request_id}")
    if request.state not in {"parked", "waiting"}:
        raise Conflict("request.state", f"request {request_id} is {request.state}")
    await ledger.orders.reject(request_id, reason=f"not issued, says {by}", at=clock())


async def recheck(
    ledger: Ledger, authority: CertificateAuthority, request_id: str, clock: Clock
) -> bool:
    """Ask the CA once more what became of a parked request; tell whether it is settled now.

    Raises:
        NotFound: ``request.unknown``.
        Conflict: ``request.state``.
    """
    order = await _order(ledger, request_id)
    if order.request.state != "parked":
        raise Conflict("request.state", f"request {request_id} is {order.request.state}")
    return await Settling(ledger, {order.request.ca: authority}, clock).settle(authority, order)


async def _order(ledger: Ledger, request_id: str) -> OpenOrder:
    found = await ledger.orders.get(request_id)
    if found is None:
        hint = "its CA's key is here: only requests at CAs elsewhere have an order"
        raise NotFound("request.unknown", f"request {request_id} has no order", hint=hint)
    return found

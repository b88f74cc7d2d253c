"""Asking a CA elsewhere: what became of the order is written down, whatever the CA does.

    the CA                                   a new order      one that waits    one that is parked
    the certificate that was ordered         issued           issued            issued
    another certificate                      kept, revoked, and a person has to look
    no (`BackendRejected`)                   rejected         rejected          rejected
    not yet (`Pending`)                      waiting          waiting           waiting
    not reached (`nothing_issued`)           rejected         waiting           parked
    no answer                                parked           parked            parked
    not an answer that the port knows        parked           parked            parked

A parked order is asked about again until its CA can tell (`est_server.enrollment.settling`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, cast

import structlog
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import BackendRejected, BackendUnavailable, Conflict, EstServerError, Pending
from est_server.pki.check import check_issued, signed_by
from est_server.pki.names import name_text
from est_server.ports.ledger import CertificateRecord

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from cryptography import x509

    from est_server.ports.ca import CaCertificates, CertificateAuthority, IssuanceOrder, Prepares
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger, RequestRecord

ACTOR = "server"
"""Who revoked a certificate that nobody ordered."""

_MOST_SERIAL = 1 << 159  # RFC 5280 4.1.2.2: positive, at most 20 octets
_FIRST_ATTEMPT = timedelta(seconds=1)
_LONGEST_PAUSE = timedelta(minutes=5)
_MOST_DOUBLINGS = 16

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)

log = structlog.get_logger("ca")


@dataclass(frozen=True, slots=True)
class Asking:
    """Asks one CA, and writes down what came of it.

    Attributes:
        ledger: the durable record.
        authority: the CA.
        clock: the time.
    """

    ledger: Ledger
    authority: CertificateAuthority
    clock: Clock

    async def ask(
        self,
        order: IssuanceOrder,
        request: RequestRecord,
        record: Callable[[x509.Certificate], CertificateRecord],
        *,
        state: Literal["new", "waiting", "parked"],
        attempts: int = 0,
    ) -> CertificateRecord:
        """Return the row of the certificate once it is durable.

        Args:
            order: the certificate; it is durable.
            request: what it is for; ``reserved``, or ``parked``.
            record: makes the row of a certificate that was checked against its plan.
            state: what it was before this question.
            attempts: how often its outcome was asked for.

        Raises:
            BackendRejected, BackendUnavailable, Pending: the CA; see the table above.
            Conflict: ``request.state``: somebody else has settled it meanwhile.
        """
        orders, request_id = self.ledger.orders, request.id
        try:
            order = await self._prepared(order, request_id)
            certificate = await self.authority.issue(order)
        except Conflict:
            raise
        except Pending as waits:
            await self._wait(request_id, str(waits), waits.retry_after)
            raise
        except BackendRejected as error:
            await orders.reject(request_id, reason=str(error), at=self.clock())
            raise
        except BackendUnavailable as error:
            if error.nothing_issued and state == "new":
                await orders.reject(request_id, reason=str(error), at=self.clock())
            elif error.nothing_issued and state == "waiting":
                await self._wait(request_id, str(error), error.retry_after)
            else:
                await self.park(request_id, str(error), attempts)
            raise
        except Exception as error:
            log.exception("ca.failed", ca=request.ca, request=request_id)
            await self.park(request_id, f"ca.failed: {type(error).__name__}", attempts)
            raise BackendUnavailable("ca.failed", "the CA gave no answer") from error
        return await self.take(order, request, certificate, record)

    async def _prepared(self, order: IssuanceOrder, request_id: str) -> IssuanceOrder:
        """Return the order with its CA's name for it, durable before it is carried out."""
        if order.ticket is not None or not self.authority.capabilities.prepares:
            return order
        try:
            ticket = await cast("Prepares", self.authority).prepare(order)
        except BackendUnavailable as error:
            error.nothing_issued = True
            raise
        try:
            await self.ledger.orders.prepare(request_id, ticket=ticket, at=self.clock())
        except Conflict as conflict:
            if conflict.rule != "order.ticket":
                raise
            raise BackendUnavailable(
                "ca.busy", "the CA has such an order open", retry_after=5, nothing_issued=True
            ) from conflict
        return replace(order, ticket=ticket)

    async def take(
        self,
        order: IssuanceOrder,
        request: RequestRecord,
        certificate: x509.Certificate,
        record: Callable[[x509.Certificate], CertificateRecord],
    ) -> CertificateRecord:
        """Return the row of a certificate that a CA gave for `order`, once it is durable.

        Raises:
            BackendRejected: ``issued.…``: it is not what was ordered; it is kept and revoked.
            Conflict: ``request.state``: somebody else has settled the request meanwhile. If that
                was by another certificate, or by none, this one is kept and revoked.
        """
        try:
            made = record(checked(self.authority, order, certificate, self.clock()))
        except BackendRejected as error:
            await self._keep(request, certificate, error)
            raise
        try:
            await self.ledger.orders.record(request.id, made)
        except Conflict as conflict:
            await self._keep(request, certificate, conflict)
            raise
        return made

    async def park(self, request_id: str, reason: str, attempts: int) -> None:
        """Park a request; its outcome is asked for soon, if its CA can be asked."""
        at = self.clock()
        next_at = at + pause(attempts)
        await self.ledger.orders.park(request_id, reason=reason, next_at=next_at, at=at)

    async def _wait(self, request_id: str, reason: str, seconds: int) -> None:
        at = self.clock()
        until = at + timedelta(seconds=seconds)
        await self.ledger.orders.wait(request_id, until=until, reason=reason, at=at)

    async def _keep(
        self, request: RequestRecord, certificate: x509.Certificate, error: EstServerError
    ) -> None:
        """Write down a certificate that exists and that nobody may have, and say so loudly."""
        kept = await self.ledger.orders.keep(
            refused_certificate(request, certificate),
            reason=str(error),
            actor=ACTOR,
            at=self.clock(),
        )
        known = error.rule == "request.state" and not kept
        if not known:  # the same certificate by way of another process is what was ordered
            log.error(
                "ca.wrong-answer",
                ca=request.ca,
                request=request.id,
                rule=error.rule,
                serial=f"{certificate.serial_number:x}",
                hint=f"est-server request show {request.id}",
            )


def pause(attempts: int) -> timedelta:
    """Return how long to wait before the next attempt: twice as long each time, up to a bound."""
    return min(_FIRST_ATTEMPT * (1 << min(attempts, _MOST_DOUBLINGS)), _LONGEST_PAUSE)


def checked(
    authority: CertificateAuthority,
    order: IssuanceOrder,
    certificate: x509.Certificate,
    now: datetime,
) -> x509.Certificate:
    """Return `certificate` if it is what was ordered and its CA signed it.

    Raises:
        BackendRejected: as in `check_issued`; ``issued.encoding``: it can't be read at all.
    """
    known = authority.certificates()
    try:
        check_issued(
            order.plan,
            certificate,
            issuer_of(certificate, known) or known.issuer,
            serial_number=order.serial_number,
            own=authority.capabilities.own,
            late=max(now - order.ordered_at, timedelta(0)),
        )
    except _UNREADABLE as error:
        raise BackendRejected("issued.encoding", "the CA's answer: it can't be read") from error
    return certificate


def issuer_of(certificate: x509.Certificate, known: CaCertificates) -> x509.Certificate | None:
    """Return which of a CA's issuers signed `certificate`; None if none did."""
    if not known.others:  # `check_issued` verifies the signature
        return known.issuer
    for issuer in (known.issuer, *known.others):
        if signed_by(certificate, issuer):
            return issuer
    return None


def refused_certificate(request: RequestRecord, certificate: x509.Certificate) -> CertificateRecord:
    """Return the row of a certificate that is not what was ordered; it may be anything."""
    number = certificate.serial_number
    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        spki_sha256 = sha256(key).digest()
    except _UNREADABLE:
        spki_sha256 = request.spki_sha256
    try:
        subject = name_text(certificate.subject)
    except _UNREADABLE:
        subject = ""
    return CertificateRecord(
        ca=request.ca,
        serial_number=number if 0 < number < _MOST_SERIAL else request.serial_number,
        status="presumed",
        der=certificate.public_bytes(Encoding.DER),
        spki_sha256=spki_sha256,
        subject=subject,
        profile=request.profile,
        identity=request.identity,
        device_id=request.device_id,
        request_id=request.id,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=request.updated_at,
    )

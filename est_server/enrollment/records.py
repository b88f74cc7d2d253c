"""From values of one request to the rows that the ledger keeps."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import Encoding

from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.one_time_password import csr_to_keep
from est_server.pki.names import name_text
from est_server.pki.plan_names import decode_plan
from est_server.ports.ledger import (
    CertificateRecord,
    DecisionRecord,
    Device,
    RequestRecord,
    Reservation,
)
from est_server.profiles.decision import Gate, trace_json
from est_server.profiles.renewal import is_renewal
from est_server.profiles.superseding import looks_at_others

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from est_server.enrollment.request import EnrollmentRequest
    from est_server.errors import EstServerError
    from est_server.pki.plan import CertificatePlan
    from est_server.ports.orders import OpenOrder, Ordered
    from est_server.ports.pending import Claim
    from est_server.profiles.decision import Decision, RequestFacts
    from est_server.profiles.profile import Profile


def reservation_for(
    profile: Profile,
    facts: RequestFacts,
    device: Device | None,
    decision: Decision,
    plan: CertificatePlan,
    key: bytes,
    serial_number: int,
    claim: Claim,
    ordered: Ordered | None = None,
) -> Reservation:
    """Return all that must be durable before, or with, the certificate."""
    identity = facts.identity
    now = decision.at
    request_id = new_identifier("r", now)
    device_id = None if profile.model.registration == "none" else identity.name
    text = plan.as_json()
    record = decision_record(
        facts,
        decision,
        plan=text,
        request_id=request_id,
        device_id=device_id,
        ca=plan.ca,
        serial_number=serial_number,
    )
    renewed = facts.identity.certificate
    shown = renewed if identity.standin is None else identity.standin.certificate
    return Reservation(
        request=RequestRecord(
            id=request_id,
            state="reserved",
            idempotency_key=key,
            operation=facts.operation,
            label=facts.label,
            profile=profile.name,
            identity=identity.name,
            device_id=device_id,
            credential_id=identity.credential_id,
            decision_id=record.id,
            ca=plan.ca,
            serial_number=serial_number,
            spki_sha256=sha256(plan.spki).digest(),
            csr=csr_to_keep(facts),
            plan=text,
            created_at=now,
            updated_at=now,
        ),
        decision=record,
        credential_id=identity.credential_id,
        register=Device(identity.name, profile.name, now)
        if device is None and profile.model.registration == "automatic"
        else None,
        renews=None if renewed is None else (renewed.ca, renewed.serial_number),
        shown=None if shown is None else (shown.ca, shown.serial_number),
        replaces=None if decision.replaces is None else decision.replaces.serial_number,
        supersedes=decision.supersedes,
        others=valid_others(profile, facts, now),
        claim=claim,
        ordered=ordered,
    )


def valid_others(profile: Profile, facts: RequestFacts, now: datetime) -> int | None:
    """Return how many valid certificates the decision knew of; None where it does not matter."""
    if is_renewal(profile, facts) or not looks_at_others(profile, facts):
        return None
    return sum(certificate.not_after > now for certificate in facts.others)


def certificate_record(
    certificate: x509.Certificate, plan: CertificatePlan, reservation: Reservation
) -> CertificateRecord:
    """Return the row of a certificate that was made and checked."""
    return _issued(certificate, plan, reservation.request, reservation.replaces)


def ordered_certificate(certificate: x509.Certificate, order: OpenOrder) -> CertificateRecord:
    """Return the row of a certificate that was checked, of an order that is durable."""
    plan = decode_plan(order.request.plan, order.ordered.names)
    return _issued(certificate, plan, order.request, order.replaces)


def _issued(
    certificate: x509.Certificate,
    plan: CertificatePlan,
    request: RequestRecord,
    replaces: int | None,
) -> CertificateRecord:
    return CertificateRecord(
        ca=request.ca,
        serial_number=certificate.serial_number,
        status="good",
        der=certificate.public_bytes(Encoding.DER),
        spki_sha256=request.spki_sha256,
        subject=name_text(plan.subject),
        profile=request.profile,
        identity=request.identity,
        device_id=request.device_id,
        request_id=request.id,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=request.created_at,
        replaces=replaces,
        crl_shard=plan.crl_shard,
    )


def decision_record(
    facts: RequestFacts,
    decision: Decision,
    *,
    plan: str | None = None,
    request_id: str | None = None,
    device_id: str | None = None,
    ca: str | None = None,
    serial_number: int | None = None,
) -> DecisionRecord:
    """Return the row of a decision.

    Args:
        facts: what was decided about.
        decision: the verdict.
        plan: JSON of the certificate to be made, where it is more than the decision says.
        request_id: of the request that follows from it, if one does.
        device_id: of that request.
        ca: likewise.
        serial_number: likewise.
    """
    name, digest = decision.profile
    return DecisionRecord(
        id=new_identifier("d", decision.at),
        request_id=request_id,
        at=decision.at,
        operation=facts.operation,
        label=facts.label,
        profile=name,
        profile_digest=digest,
        identity=facts.identity.name,
        device_id=device_id,
        verdict=decision.verdict,
        rule=decision.rule,
        message=decision.message,
        trace=decision.trace(plan),
        csr=csr_to_keep(facts),
        ca=ca,
        serial_number=serial_number,
    )


def unknown_certificate_record(
    profile: Profile, request: EnrollmentRequest, error: EstServerError, now: datetime
) -> DecisionRecord:
    """Return the row of a refusal before anyone was authenticated; the CSR was not looked at."""
    chain = request.tls.client_chain
    detail = f"{error.message}; leaf SHA-256 {sha256(chain[0]).hexdigest()}, {len(chain)} sent"
    return DecisionRecord(
        id=new_identifier("d", now),
        request_id=None,
        at=now,
        operation=request.operation,
        label=request.label,
        profile=profile.name,
        profile_digest=profile.digest,
        identity=None,
        device_id=None,
        verdict="deny",
        rule=error.rule,
        message=error.message,
        trace=trace_json((Gate(error.rule, ok=False, detail=detail),), None),
        csr=b"",
    )


def overruled(decision: Decision, error: EstServerError) -> Decision:
    """Return the refusal that an allowed decision became, when only the ledger could tell."""
    return replace(
        decision,
        verdict="deny",
        rule=error.rule,
        message=error.message,
        gates=(*decision.gates, Gate(error.rule, ok=False, detail=error.message)),
        plan=None,
    )

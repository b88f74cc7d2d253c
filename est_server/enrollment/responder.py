"""The certificates of this server's own OCSP responders.

A responder asks like a device does, with a CSR of its own, and its certificate is written down like
a device's before anybody sees it: it can be listed, explained and revoked. No profile decides; the
server's configuration does.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.issuance import issue_and_record
from est_server.pki.authority import signature_hash
from est_server.pki.names import name_text
from est_server.pki.plan_names import encode_names
from est_server.ports.ca import IssuanceOrder
from est_server.ports.ledger import (
    CertificateRecord,
    DecisionRecord,
    RequestRecord,
    Reservation,
)
from est_server.ports.orders import Ordered
from est_server.profiles.decision import Gate, trace_json

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.pki.plan import CertificatePlan
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger

RESPONDER: Final = "ocsp-responder"
"""The profile and the operation under which such certificates are found; no file has this name."""


async def issue_responder(
    ledger: Ledger,
    authority: CertificateAuthority,
    plan: CertificatePlan,
    key: CertificateIssuerPrivateKeyTypes,
    clock: Clock,
) -> x509.Certificate:
    """Return a new responder certificate once it is durable.

    Args:
        ledger: where it is recorded.
        authority: the CA that it answers for.
        plan: the certificate.
        key: the responder's.
        clock: the time.

    Raises:
        BackendRejected, BackendUnavailable: the CA or the ledger.
        Conflict: two serial numbers collided.
    """
    now = clock()
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(plan.subject)
        .sign(key, signature_hash(key))
        .public_bytes(Encoding.DER)
    )
    reservation = _reservation(plan, csr, x509.random_serial_number(), now)
    if not authority.capabilities.local_key:
        reservation = replace(reservation, ordered=Ordered(csr, encode_names(plan)))
    request = reservation.request
    order = IssuanceOrder(plan, request.serial_number, request.id, csr, now)
    made = await issue_and_record(
        ledger,
        authority,
        order,
        reservation,
        lambda certificate: _record(certificate, plan, request),
        window_start=now,
        clock=clock,
    )
    return x509.load_der_x509_certificate(made.der or b"")


def _reservation(
    plan: CertificatePlan, csr: bytes, serial_number: int, now: datetime
) -> Reservation:
    request_id, identity = new_identifier("r", now), f"{RESPONDER} {plan.ca}"
    gate = Gate("configuration", ok=True, detail=f"CA {plan.ca} answers OCSP by this responder")
    decision = DecisionRecord(
        id=new_identifier("d", now),
        request_id=request_id,
        at=now,
        operation=RESPONDER,
        label=None,
        profile=RESPONDER,
        profile_digest="",
        identity=identity,
        device_id=None,
        verdict="allow",
        rule=None,
        message="allowed by the configuration",
        trace=trace_json((gate,), plan.as_json()),
        csr=csr,
        ca=plan.ca,
        serial_number=serial_number,
    )
    request = RequestRecord(
        id=request_id,
        state="reserved",
        idempotency_key=secrets.token_bytes(32),  # each process has a key, and so a certificate
        operation=RESPONDER,
        label=None,
        profile=RESPONDER,
        identity=identity,
        device_id=None,
        credential_id=None,
        decision_id=decision.id,
        ca=plan.ca,
        serial_number=serial_number,
        spki_sha256=sha256(plan.spki).digest(),
        csr=csr,
        plan=plan.as_json(),
        created_at=now,
        updated_at=now,
    )
    return Reservation(request, decision)


def _record(
    certificate: x509.Certificate, plan: CertificatePlan, request: RequestRecord
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
        device_id=None,
        request_id=request.id,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        issued_at=request.created_at,
    )

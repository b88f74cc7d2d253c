"""Records to put into a ledger, all alike but for what a test is about."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

from est_server.ports.ledger import (
    CertificateRecord,
    Credential,
    DecisionRecord,
    RequestRecord,
    Reservation,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, 123456, tzinfo=UTC)
WINDOW = NOW - timedelta(hours=24)


def any_key():
    return secrets.token_bytes(32)


def reservation(
    key=b"k" * 32, *, credential=None, serial=None, at=NOW, register=None, ca="ca", device="SN-1",
    supersedes=(), shown=None, others=None, **fields,
):  # fmt: skip
    name = secrets.token_hex(8)
    decision = DecisionRecord(
        id=f"d_{name}", request_id=f"r_{name}", at=at, operation="simpleenroll", label=None,
        profile="p", profile_digest="0" * 64, identity=device, device_id=device, verdict="allow",
        rule=None, message="allowed", trace="{}", csr=b"csr",
    )  # fmt: skip
    request = {
        "id": f"r_{name}", "state": "reserved", "idempotency_key": key,
        "operation": "simpleenroll", "label": None, "profile": "p", "identity": device,
        "device_id": device, "credential_id": credential, "decision_id": decision.id, "ca": ca,
        "serial_number": serial or secrets.randbits(150) + 1, "spki_sha256": b"s" * 32,
        "csr": b"csr", "plan": "{}", "created_at": at, "updated_at": at,
    } | fields  # fmt: skip
    return Reservation(
        RequestRecord(**request), decision, credential, register, supersedes=supersedes,
        shown=shown, others=others,
    )  # fmt: skip


def certificate(made, status="good", **fields):
    request = made.request
    record = {
        "ca": request.ca, "serial_number": request.serial_number, "status": status, "der": b"der",
        "spki_sha256": request.spki_sha256, "subject": "CN=SN-1", "profile": request.profile,
        "identity": request.identity, "device_id": request.device_id, "request_id": request.id,
        "not_before": NOW, "not_after": NOW + timedelta(90), "issued_at": request.created_at,
    } | fields  # fmt: skip
    return CertificateRecord(**record)


async def issue(ledger, made, **fields):
    await ledger.reserve_and_record(made, certificate(made, **fields), window_start=WINDOW)


async def add_credential(ledger, uses_allowed, **fields):
    record = {"id": "c_1", "username": "user", "verifier": "v", "profile": "p", "created_at": NOW}
    await ledger.add_credential(Credential(**(record | fields), uses_allowed=uses_allowed))


def rules(outcomes):
    """The rules of the failures among the results of a gather, sorted."""
    return sorted(outcome.rule for outcome in outcomes if outcome is not None)

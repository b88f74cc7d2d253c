"""Records of the port to rows of the tables, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from est_server.ports.ledger import (
    CertificateRecord,
    Credential,
    DecisionRecord,
    Device,
    NodeStatus,
    RequestRecord,
)

if TYPE_CHECKING:
    from est_server.storage.transaction import Found

Row = dict[str, Any]
LATEST = (1 << 63) - 1
"""Later than every `stamp`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_SERIAL = 1 << 160  # RFC 5280 4.1.2.2: at most 20 octets


def stamp(at: datetime) -> int:
    """Return whole microseconds since 1970; exact, unlike a float."""
    return (at - _EPOCH) // _MICROSECOND


def stamp_or_none(at: datetime | None) -> int | None:
    """Return `stamp`, or None."""
    return None if at is None else stamp(at)


def time(value: int) -> datetime:
    """Return the time behind a `stamp`."""
    return _EPOCH + timedelta(microseconds=value)


def time_or_none(value: int | None) -> datetime | None:
    """Return `time`, or None."""
    return None if value is None else time(value)


def serial(number: int) -> str:
    """Return 40 hexadecimal digits.

    Raises:
        ValueError: a number that no certificate has.
    """
    if not 0 < number < _MOST_SERIAL:
        raise ValueError("a serial number is positive and has at most 20 octets")
    return f"{number:040x}"


def serial_wanted(number: int) -> str:
    """Return what `serial` would, for a search; what it refuses is found nowhere."""
    return f"{number:040x}"


def _serial(number: int | None) -> str | None:
    return None if number is None else serial(number)


def _number(text: str | None) -> int | None:
    return None if text is None else int(text, 16)


def device_row(device: Device) -> Row:
    """Return the row of a device."""
    created = stamp(device.created_at)
    return {
        "id": device.id,
        "profile": device.profile,
        "state": device.state,
        "attributes": json.dumps(dict(device.attributes), ensure_ascii=False),
        "created_at": created,
        "updated_at": created,
    }


def device_record(row: Found) -> Device:
    """Return the device of a row."""
    return Device(
        id=row["id"],
        profile=row["profile"],
        created_at=time(row["created_at"]),
        state=row["state"],
        attributes=json.loads(row["attributes"]),
    )


def credential_row(credential: Credential) -> Row:
    """Return the row of a credential."""
    return {
        "id": credential.id,
        "username": credential.username,
        "verifier": credential.verifier,
        "profile": credential.profile,
        "device_id": credential.device_id,
        "uses_allowed": credential.uses_allowed,
        "uses": credential.uses,
        "created_at": stamp(credential.created_at),
        "expires_at": stamp_or_none(credential.expires_at),
        "revoked_at": stamp_or_none(credential.revoked_at),
    }


def credential_record(row: Found) -> Credential:
    """Return the credential of a row."""
    return Credential(
        id=row["id"],
        username=row["username"],
        verifier=row["verifier"],
        profile=row["profile"],
        created_at=time(row["created_at"]),
        device_id=row["device_id"],
        uses_allowed=row["uses_allowed"],
        uses=row["uses"],
        expires_at=time_or_none(row["expires_at"]),
        revoked_at=time_or_none(row["revoked_at"]),
    )


def decision_row(decision: DecisionRecord) -> Row:
    """Return the row of a decision."""
    return {
        "id": decision.id,
        "request_id": decision.request_id,
        "at": stamp(decision.at),
        "operation": decision.operation,
        "label": decision.label,
        "profile": decision.profile,
        "profile_digest": decision.profile_digest,
        "identity": decision.identity,
        "device_id": decision.device_id,
        "verdict": decision.verdict,
        "rule": decision.rule,
        "message": decision.message,
        "trace": decision.trace,
        "csr": decision.csr,
        "ca": decision.ca,
        "serial_number": _serial(decision.serial_number),
    }


def decision_record(row: Found) -> DecisionRecord:
    """Return the decision of a row."""
    return DecisionRecord(
        id=row["id"],
        request_id=row["request_id"],
        at=time(row["at"]),
        operation=row["operation"],
        label=row["label"],
        profile=row["profile"],
        profile_digest=row["profile_digest"],
        identity=row["identity"],
        device_id=row["device_id"],
        verdict=row["verdict"],
        rule=row["rule"],
        message=row["message"],
        trace=row["trace"],
        csr=bytes(row["csr"]),
        ca=row["ca"],
        serial_number=_number(row["serial_number"]),
    )


def request_row(request: RequestRecord) -> Row:
    """Return the row of a request."""
    return {
        "id": request.id,
        "state": request.state,
        "idempotency_key": request.idempotency_key,
        "operation": request.operation,
        "label": request.label,
        "profile": request.profile,
        "identity": request.identity,
        "device_id": request.device_id,
        "credential_id": request.credential_id,
        "decision_id": request.decision_id,
        "ca": request.ca,
        "serial_number": serial(request.serial_number),
        "spki_sha256": request.spki_sha256,
        "csr": request.csr,
        "plan": request.plan,
        "reason": None,
        "created_at": stamp(request.created_at),
        "updated_at": stamp(request.updated_at),
    }


def request_record(row: Found) -> RequestRecord:
    """Return the request of a row."""
    return RequestRecord(
        id=row["id"],
        state=row["state"],
        idempotency_key=bytes(row["idempotency_key"] or b""),
        operation=row["operation"],
        label=row["label"],
        profile=row["profile"],
        identity=row["identity"],
        device_id=row["device_id"],
        credential_id=row["credential_id"],
        decision_id=row["decision_id"],
        ca=row["ca"],
        serial_number=int(row["serial_number"], 16),
        spki_sha256=bytes(row["spki_sha256"]),
        csr=bytes(row["csr"]),
        plan=row["plan"],
        created_at=time(row["created_at"]),
        updated_at=time(row["updated_at"]),
    )


def certificate_row(certificate: CertificateRecord) -> Row:
    """Return the row of a certificate."""
    return {
        "ca": certificate.ca,
        "serial_number": serial(certificate.serial_number),
        "status": certificate.status,
        "der": certificate.der,
        "spki_sha256": certificate.spki_sha256,
        "subject": certificate.subject,
        "profile": certificate.profile,
        "identity": certificate.identity,
        "device_id": certificate.device_id,
        "request_id": certificate.request_id,
        "not_before": stamp(certificate.not_before),
        "not_after": stamp(certificate.not_after),
        "issued_at": stamp(certificate.issued_at),
        "replaces": _serial(certificate.replaces),
        "revoked_at": stamp_or_none(certificate.revoked_at),
        "revocation_reason": certificate.revocation_reason,
        "invalidity_date": stamp_or_none(certificate.invalidity_date),
        "crl_shard": certificate.crl_shard,
        "seen_at": stamp_or_none(certificate.seen_at),
    }


def certificate_record(row: Found) -> CertificateRecord:
    """Return the certificate of a row."""
    return CertificateRecord(
        ca=row["ca"],
        serial_number=int(row["serial_number"], 16),
        status=row["status"],
        der=None if row["der"] is None else bytes(row["der"]),
        spki_sha256=bytes(row["spki_sha256"]),
        subject=row["subject"],
        profile=row["profile"],
        identity=row["identity"],
        device_id=row["device_id"],
        request_id=row["request_id"],
        not_before=time(row["not_before"]),
        not_after=time(row["not_after"]),
        issued_at=time(row["issued_at"]),
        replaces=_number(row["replaces"]),
        revoked_at=time_or_none(row["revoked_at"]),
        revocation_reason=row["revocation_reason"],
        invalidity_date=time_or_none(row["invalidity_date"]),
        crl_shard=row["crl_shard"],
        seen_at=time_or_none(row["seen_at"]),
    )


def node_row(status: NodeStatus) -> Row:
    """Return the row of a server process."""
    return {
        "node": status.node,
        "pid": status.pid,
        "host": status.host,
        "started_at": stamp(status.started_at),
        "seen_at": stamp(status.seen_at),
        "config_digest": status.config_digest,
        "reload_serial": status.reload_serial,
        "reload_error": status.reload_error,
        "rollovers": status.rollovers,
        "roles": status.roles,
    }


def node_record(row: Found) -> NodeStatus:
    """Return the server process of a row."""
    return NodeStatus(
        node=row["node"],
        pid=row["pid"],
        host=row["host"],
        started_at=time(row["started_at"]),
        seen_at=time(row["seen_at"]),
        config_digest=row["config_digest"],
        reload_serial=row["reload_serial"],
        reload_error=row["reload_error"],
        rollovers=row["rollovers"],
        roles=row["roles"],
    )

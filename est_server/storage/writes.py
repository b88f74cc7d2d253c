"""What an SQL ledger changes: each function is one caller's part of a transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from est_server.errors import Conflict, NotFound
from est_server.storage import orders, pending, rows, supersession
from est_server.storage import revocation_statements as revocation
from est_server.storage import statements as sql
from est_server.storage.transaction import Overtaken, UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from est_server.ports.ledger import (
        CertificateRecord,
        Credential,
        DecisionRecord,
        Device,
        NodeStatus,
        RequestRecord,
        Reservation,
    )
    from est_server.storage.transaction import Transaction


def reserve(
    db: Transaction,
    reservation: Reservation,
    window_start: int,
    node: str,
    state: Literal["reserved", "issued"] = "reserved",
) -> None:
    """Write all of a reservation that `node` works on; see `Ledger.reserve`."""
    _refuse_revoked(db, reservation)
    request = reservation.request
    key, at = request.idempotency_key, rows.stamp(request.created_at)
    # first of all: who comes second must not find its credential spent
    wanted = reservation.claim
    claimed = wanted is not None and pending.claim(db, wanted, request.id, at)
    if reservation.others is not None:
        _require_no_more(db, request, reservation.others)
    db.change(sql.RELEASE_OLD_KEY, {"key": key, "window_start": window_start})
    if reservation.credential_id is not None:
        _spend(db, reservation.credential_id, key)
    record_decision(db, reservation.decision)
    if (device := reservation.register) is not None and (
        db.find(sql.DEVICE, {"device": device.id}) is None
    ):
        db.change(sql.ADD_DEVICE, rows.device_row(device))
    _add_request(db, request, node, state)
    if reservation.ordered is not None:
        orders.add(db, request.id, reservation.ordered, reservation.replaces)
    supersession.plan(db, request.id, reservation.supersedes)
    if (shown := reservation.shown) is not None:
        number = rows.serial(shown[1])
        db.change(sql.SEEN, {"of_ca": shown[0], "of_serial_number": number, "at": at})
    if claimed and state == "issued":
        pending.finish(db, request.id, at)


def _refuse_revoked(db: Transaction, reservation: Reservation) -> None:
    """Return if neither the key nor the certificate that it renews was revoked meanwhile.

    Raises:
        Conflict: ``key.compromised``, ``certificate.revoked``, ``certificate.held``.
    """
    if db.find(revocation.BLOCKED, {"key": reservation.request.spki_sha256}) is not None:
        raise Conflict("key.compromised", "this key was revoked for keyCompromise")
    if reservation.renews is None:
        return
    ca, serial_number = reservation.renews
    row = db.find(sql.CERTIFICATE, {"ca": ca, "serial_number": rows.serial(serial_number)})
    if row is not None and row["status"] in {"revoked", "held"}:
        status = row["status"]
        raise Conflict(f"certificate.{status}", f"certificate {serial_number:x} is {status}")


def _require_no_more(db: Transaction, request: RequestRecord, others: int) -> None:
    values = {
        "identity": request.identity,
        "profile": request.profile,
        "at": rows.stamp(request.created_at),
    }
    db.lock(f"certificates {request.profile} {request.identity}")
    counted = db.find(sql.HELD, values)
    if counted is not None and counted[0] > others:
        raise Conflict("request.overtaken", "another enrollment of the same device came first")


def _spend(db: Transaction, credential_id: str, key: bytes) -> None:
    if db.change(sql.SPEND, {"credential": credential_id}):
        return
    if db.find(sql.REQUEST_BY_KEY, {"key": key}) is not None:
        raise _duplicate()  # its twin took the last use: the answer is the twin's certificate
    raise Conflict("credential.spent", "this credential has no use left")


def _add_request(
    db: Transaction, request: RequestRecord, node: str, state: Literal["reserved", "issued"]
) -> None:
    row = rows.request_row(request) | {"state": state, "node": node}
    if state == "reserved" and db.find(sql.CERTIFICATE, row) is not None:
        raise _serial_exists()
    try:
        db.change(sql.ADD_REQUEST, row)
    except UniqueBroken as error:
        if _concerns(error, "requests.idempotency_key"):
            raise _duplicate() from error
        if _concerns(error, "requests.serial_number"):
            raise _serial_exists() from error
        raise


def record(db: Transaction, request_id: str, certificate: CertificateRecord) -> None:
    """Move a request to ``issued`` and write its certificate; see `Ledger.record`."""
    at = rows.stamp(certificate.issued_at)
    move(db, request_id, "issued", at, None)
    pending.finish(db, request_id, at)
    add_certificate(db, certificate)


def settle(
    db: Transaction, request_id: str, state: Literal["rejected", "parked"], at: int, why: str
) -> None:
    """End a request without a certificate; see `Ledger.settle`."""
    move(db, request_id, state, at, why)
    if state == "rejected":
        _free(db, request_id)
        pending.release(db, request_id, at)


def presume(db: Transaction, request_id: str, certificate: CertificateRecord) -> None:
    """Write a certificate that may exist and reject its request; see `Ledger.presume`."""
    settle(db, request_id, "rejected", rows.stamp(certificate.issued_at), "presumed issued")
    add_certificate(db, certificate)


def move(db: Transaction, request_id: str, to: str, at: int, reason: str | None) -> None:
    """Change the state of a request that is ``reserved``."""
    if not db.change(sql.MOVE, {"request": request_id, "to": to, "at": at, "why": reason}):
        raise Conflict("request.state", f"request {request_id} is not reserved")


def _free(db: Transaction, request_id: str) -> None:
    db.change(sql.FREE_KEY, {"request": request_id})
    db.change(sql.GIVE_BACK, {"request": request_id})


def add_certificate(db: Transaction, certificate: CertificateRecord) -> None:
    """Write a certificate of a request that has none yet."""
    try:
        db.change(sql.ADD_CERTIFICATE, rows.certificate_row(certificate))
    except UniqueBroken as error:
        if _concerns(error, "certificates.serial_number"):
            raise _serial_exists() from error
        raise


def record_decision(db: Transaction, decision: DecisionRecord) -> None:
    """Write a decision."""
    db.change(sql.ADD_DECISION, rows.decision_row(decision))


def add_devices(db: Transaction, devices: Sequence[Device]) -> None:
    """Create devices, all or none; see `Ledger.add_devices`."""
    for device in devices:
        try:
            db.change(sql.ADD_DEVICE, rows.device_row(device))
        except UniqueBroken as error:
            if _concerns(error, "devices.id"):
                raise Conflict("device.exists", f"device {device.id} exists") from error
            raise


def set_device_state(
    db: Transaction, device_id: str, state: str, expected: Collection[str], at: int
) -> None:
    """Change a device's state; see `Ledger.set_device_state`."""
    row = db.find(sql.DEVICE, {"device": device_id})
    if row is None:
        raise NotFound("device.unknown", f"there is no device {device_id}")
    if row["state"] not in expected:
        raise Conflict("device.state", f"device {device_id} is {row['state']}")
    values = {"device": device_id, "from_": row["state"], "to": state, "at": at}
    if not db.change(sql.SET_DEVICE_STATE, values):
        raise Overtaken


def add_credential(db: Transaction, credential: Credential) -> None:
    """Create a credential; see `Ledger.add_credential`."""
    try:
        db.change(sql.ADD_CREDENTIAL, rows.credential_row(credential))
    except UniqueBroken as error:
        if not _concerns(error, "credentials.username"):
            raise
        name = credential.username
        raise Conflict(
            "credential.exists",
            f"user name {name} has a credential",
            hint=f"revoke it first: est-server credential revoke {name}",
        ) from error


def revoke_credential(db: Transaction, username: str, at: int) -> None:
    """Revoke the live credential of a user name; see `Ledger.revoke_credential`."""
    if not db.change(sql.REVOKE_CREDENTIAL, {"user": username, "at": at}):
        raise NotFound("credential.unknown", f"user name {username} has no credential")


def remember_profiles(db: Transaction, profiles: Mapping[str, tuple[str, str]], at: int) -> None:
    """Keep the profile texts that are new."""
    for digest, (name, content) in profiles.items():
        if db.find(sql.PROFILE_TEXT, {"digest_": digest}) is None:
            row = {"digest": digest, "name": name, "text": content, "first_seen": at}
            db.change(sql.ADD_PROFILE_TEXT, row)


def report_node(db: Transaction, status: NodeStatus) -> None:
    """Write or replace what a server process says about itself."""
    forget_node(db, status.node)
    db.change(sql.ADD_NODE, rows.node_row(status))


def forget_node(db: Transaction, node: str) -> None:
    """Remove a server process."""
    db.change(sql.FORGET_NODE, {"which": node})


def touch(db: Transaction) -> None:
    """Write something that changes nothing, and find out whether that is possible."""
    db.change(sql.TOUCH, {})


def _concerns(error: UniqueBroken, column: str) -> bool:
    """Tell whether a unique constraint that starts with `column` was broken."""
    return error.columns[0] == column


def _duplicate() -> Conflict:
    return Conflict("request.duplicate", "the same request is already answered or under way")


def _serial_exists() -> Conflict:
    return Conflict("serial.duplicate", "this serial number exists")

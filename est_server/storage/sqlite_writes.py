"""What a SQLite ledger changes: each function is one caller's part of a shared transaction.

All run behind the write lock, so that what they read holds until they write.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Literal

from est_server.errors import Conflict, NotFound
from est_server.storage import revocation_statements as revocation
from est_server.storage import rows
from est_server.storage import sqlite_orders as orders
from est_server.storage import sqlite_pending as pending
from est_server.storage import sqlite_supersession as supersession
from est_server.storage import statements as sql
from est_server.storage.sqlite_execute import execute as _execute
from est_server.storage.sqlite_execute import find as _find

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


def reserve(
    db: sqlite3.Connection,
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
    _execute(db, sql.RELEASE_OLD_KEY, {"key": key, "window_start": window_start})
    if reservation.credential_id is not None:
        _spend(db, reservation.credential_id, key)
    record_decision(db, reservation.decision)
    if (device := reservation.register) is not None and (
        _find(db, sql.DEVICE, {"device": device.id}) is None
    ):
        _execute(db, sql.ADD_DEVICE, rows.device_row(device))
    _add_request(db, request, node, state)
    if reservation.ordered is not None:
        orders.add(db, request.id, reservation.ordered, reservation.replaces)
    supersession.plan(db, request.id, reservation.supersedes)
    if (shown := reservation.shown) is not None:
        number = rows.serial(shown[1])
        _execute(db, sql.SEEN, {"of_ca": shown[0], "of_serial_number": number, "at": at})
    if claimed and state == "issued":
        pending.finish(db, request.id, at)


def _refuse_revoked(db: sqlite3.Connection, reservation: Reservation) -> None:
    """Return if neither the key nor the certificate that it renews was revoked meanwhile.

    Raises:
        Conflict: ``key.compromised``, ``certificate.revoked``, ``certificate.held``.
    """
    if _find(db, revocation.BLOCKED, {"key": reservation.request.spki_sha256}) is not None:
        raise Conflict("key.compromised", "this key was revoked for keyCompromise")
    if reservation.renews is None:
        return
    ca, serial_number = reservation.renews
    row = _find(db, sql.CERTIFICATE, {"ca": ca, "serial_number": rows.serial(serial_number)})
    if row is not None and row["status"] in {"revoked", "held"}:
        status = row["status"]
        raise Conflict(f"certificate.{status}", f"certificate {serial_number:x} is {status}")


def _require_no_more(db: sqlite3.Connection, request: RequestRecord, others: int) -> None:
    values = {
        "identity": request.identity,
        "profile": request.profile,
        "at": rows.stamp(request.created_at),
    }
    counts = (_find(db, statement, values) for statement in (sql.VALID, sql.UNDER_WAY))
    if sum(0 if count is None else count[0] for count in counts) > others:
        raise Conflict("request.overtaken", "another enrollment of the same device came first")


def _spend(db: sqlite3.Connection, credential_id: str, key: bytes) -> None:
    if _execute(db, sql.SPEND, {"credential": credential_id}):
        return
    if _find(db, sql.REQUEST_BY_KEY, {"key": key}) is not None:
        raise _duplicate()  # its twin took the last use: the answer is the twin's certificate
    raise Conflict("credential.spent", "this credential has no use left")


def _add_request(
    db: sqlite3.Connection, request: RequestRecord, node: str, state: Literal["reserved", "issued"]
) -> None:
    row = rows.request_row(request) | {"state": state, "node": node}
    if state == "reserved" and _find(db, sql.CERTIFICATE, row) is not None:
        raise _serial_exists()
    try:
        _execute(db, sql.ADD_REQUEST, row)
    except sqlite3.IntegrityError as error:
        if _breaks(error, "requests.idempotency_key"):
            raise _duplicate() from error
        if _breaks(error, "requests.serial_number"):
            raise _serial_exists() from error
        raise


def record(db: sqlite3.Connection, request_id: str, certificate: CertificateRecord) -> None:
    """Move a request to ``issued`` and write its certificate; see `Ledger.record`."""
    at = rows.stamp(certificate.issued_at)
    move(db, request_id, "issued", at, None)
    pending.finish(db, request_id, at)
    add_certificate(db, certificate)


def settle(
    db: sqlite3.Connection, request_id: str, state: Literal["rejected", "parked"], at: int, why: str
) -> None:
    """End a request without a certificate; see `Ledger.settle`."""
    move(db, request_id, state, at, why)
    if state == "rejected":
        _free(db, request_id)
        pending.release(db, request_id, at)


def presume(db: sqlite3.Connection, request_id: str, certificate: CertificateRecord) -> None:
    """Write a certificate that may exist and reject its request; see `Ledger.presume`."""
    settle(db, request_id, "rejected", rows.stamp(certificate.issued_at), "presumed issued")
    add_certificate(db, certificate)


def move(db: sqlite3.Connection, request_id: str, to: str, at: int, reason: str | None) -> None:
    """Change the state of a request that is ``reserved``."""
    if not _execute(db, sql.MOVE, {"request": request_id, "to": to, "at": at, "why": reason}):
        raise Conflict("request.state", f"request {request_id} is not reserved")


def _free(db: sqlite3.Connection, request_id: str) -> None:
    _execute(db, sql.FREE_KEY, {"request": request_id})
    _execute(db, sql.GIVE_BACK, {"request": request_id})


def add_certificate(db: sqlite3.Connection, certificate: CertificateRecord) -> None:
    """Write a certificate of a request that has none yet."""
    try:
        _execute(db, sql.ADD_CERTIFICATE, rows.certificate_row(certificate))
    except sqlite3.IntegrityError as error:
        if _breaks(error, "certificates.serial_number"):
            raise _serial_exists() from error
        raise


def record_decision(db: sqlite3.Connection, decision: DecisionRecord) -> None:
    """Write a decision."""
    _execute(db, sql.ADD_DECISION, rows.decision_row(decision))


def add_devices(db: sqlite3.Connection, devices: Sequence[Device]) -> None:
    """Create devices, all or none; see `Ledger.add_devices`."""
    for device in devices:
        try:
            _execute(db, sql.ADD_DEVICE, rows.device_row(device))
        except sqlite3.IntegrityError as error:
            if _breaks(error, "devices.id"):
                raise Conflict("device.exists", f"device {device.id} exists") from error
            raise


def set_device_state(
    db: sqlite3.Connection, device_id: str, state: str, expected: Collection[str], at: int
) -> None:
    """Change a device's state; see `Ledger.set_device_state`."""
    row = _find(db, sql.DEVICE, {"device": device_id})
    if row is None:
        raise NotFound("device.unknown", f"there is no device {device_id}")
    if row["state"] not in expected:
        raise Conflict("device.state", f"device {device_id} is {row['state']}")
    _execute(db, sql.SET_DEVICE_STATE, {"device": device_id, "to": state, "at": at})


def add_credential(db: sqlite3.Connection, credential: Credential) -> None:
    """Create a credential; see `Ledger.add_credential`."""
    try:
        _execute(db, sql.ADD_CREDENTIAL, rows.credential_row(credential))
    except sqlite3.IntegrityError as error:
        if not _breaks(error, "credentials.username"):
            raise
        name = credential.username
        raise Conflict(
            "credential.exists",
            f"user name {name} has a credential",
            hint=f"revoke it first: est-server credential revoke {name}",
        ) from error


def revoke_credential(db: sqlite3.Connection, username: str, at: int) -> None:
    """Revoke the live credential of a user name; see `Ledger.revoke_credential`."""
    if not _execute(db, sql.REVOKE_CREDENTIAL, {"user": username, "at": at}):
        raise NotFound("credential.unknown", f"user name {username} has no credential")


def remember_profiles(
    db: sqlite3.Connection, profiles: Mapping[str, tuple[str, str]], at: int
) -> None:
    """Keep the profile texts that are new."""
    for digest, (name, content) in profiles.items():
        if _find(db, sql.PROFILE_TEXT, {"digest_": digest}) is None:
            row = {"digest": digest, "name": name, "text": content, "first_seen": at}
            _execute(db, sql.ADD_PROFILE_TEXT, row)


def report_node(db: sqlite3.Connection, status: NodeStatus) -> None:
    """Write or replace what a server process says about itself."""
    forget_node(db, status.node)
    _execute(db, sql.ADD_NODE, rows.node_row(status))


def forget_node(db: sqlite3.Connection, node: str) -> None:
    """Remove a server process."""
    _execute(db, sql.FORGET_NODE, {"which": node})


def touch(db: sqlite3.Connection) -> None:
    """Write something that changes nothing, and find out whether that is possible."""
    _execute(db, sql.TOUCH, {})


def _breaks(error: sqlite3.IntegrityError, column: str) -> bool:
    """Tell whether a unique constraint that starts with `column` was broken."""
    return str(error).startswith(f"UNIQUE constraint failed: {column}")


def _duplicate() -> Conflict:
    return Conflict("request.duplicate", "the same request is already answered or under way")


def _serial_exists() -> Conflict:
    return Conflict("serial.duplicate", "this serial number exists")

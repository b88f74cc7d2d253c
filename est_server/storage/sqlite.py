"""The ledger on SQLite: one file, for one machine.

Reads run on the event loop: they take microseconds, a thread would take longer. Writes share
commits (`est_server.storage.group_commit`).
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy.dialects import sqlite as sqlite_dialect

from est_server.errors import BackendUnavailable, Conflict, NotFound
from est_server.storage import rows
from est_server.storage import statements as sql
from est_server.storage.group_commit import GroupCommit
from est_server.storage.sqlite_file import FULL_SYNC, make_private

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from sqlalchemy import ColumnElement, Executable, Select

    from est_server.ports.ledger import (
        CertificateRecord,
        CertificateStatus,
        Credential,
        DecisionRecord,
        Device,
        DeviceState,
        Ledger,
        NodeStatus,
        RequestRecord,
        Reservation,
    )

_DIALECT = sqlite_dialect.dialect(paramstyle="named")
_TEXTS: dict[int, str] = {}


def _text(statement: Executable) -> str:
    """Return the compiled text of one of `statements`; they live as long as the process."""
    key = id(statement)
    if (found := _TEXTS.get(key)) is None:
        found = _TEXTS[key] = sql.compiled(statement, _DIALECT)
    return found


class SqliteLedger:
    """A `Ledger` in one file; see the port for what each method promises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        make_private(path)
        self._reader = self._connect()
        self._writer = GroupCommit(self._connect)
        self._filtered: dict[tuple[int, tuple[str, ...]], str] = {}

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        connection.row_factory = sqlite3.Row
        for pragma in FULL_SYNC:
            connection.execute(pragma)
        return connection

    # -- running statements -----------------------------------------------------------------

    def _one(self, statement: Executable, values: Mapping[str, Any]) -> sqlite3.Row | None:
        try:
            row: sqlite3.Row | None = self._reader.execute(_text(statement), values).fetchone()
        except sqlite3.Error as error:
            raise _unreadable(error) from error
        return row

    def _all(self, text: str, values: Mapping[str, Any]) -> list[sqlite3.Row]:
        try:
            return self._reader.execute(text, values).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def _page(
        self,
        statement: Select[Any],
        filters: Mapping[str, ColumnElement[bool]],
        wanted: Mapping[str, Any],
        limit: int,
    ) -> list[sqlite3.Row]:
        used = tuple(name for name in filters if name in wanted)
        key = (id(statement), used)
        if (text := self._filtered.get(key)) is None:
            filtered = statement.where(*(filters[name] for name in used))
            text = self._filtered[key] = sql.compiled(filtered, _DIALECT)
        return self._all(text, {**wanted, "most": limit})

    # -- one enrollment ---------------------------------------------------------------------

    async def reserve(self, reservation: Reservation, *, window_start: datetime) -> None:
        await self._writer.run(lambda db: _reserve(db, reservation, rows.stamp(window_start)))

    async def record(self, request_id: str, certificate: CertificateRecord) -> None:
        await self._writer.run(lambda db: _record(db, request_id, certificate))

    async def reserve_and_record(
        self, reservation: Reservation, certificate: CertificateRecord, *, window_start: datetime
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            _reserve(db, reservation, rows.stamp(window_start), state="issued")
            _add_certificate(db, certificate)

        await self._writer.run(work)

    async def settle(
        self, request_id: str, state: Literal["rejected", "parked"], *, reason: str, at: datetime
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            _move(db, request_id, state, rows.stamp(at), reason)
            if state == "rejected":
                _free(db, request_id)

        await self._writer.run(work)

    async def presume(self, request_id: str, certificate: CertificateRecord) -> None:
        def work(db: sqlite3.Connection) -> None:
            _move(db, request_id, "rejected", rows.stamp(certificate.issued_at), "presumed issued")
            _free(db, request_id)
            _add_certificate(db, certificate)

        await self._writer.run(work)

    async def record_decision(self, decision: DecisionRecord) -> None:
        row = rows.decision_row(decision)
        await self._writer.run(lambda db: _execute(db, sql.ADD_DECISION, row))

    async def issued(self, idempotency_key: bytes, *, since: datetime) -> CertificateRecord | None:
        row = self._one(sql.ISSUED, {"key": idempotency_key, "since": rows.stamp(since)})
        return None if row is None else rows.certificate_record(row)

    async def request_by_key(self, idempotency_key: bytes) -> RequestRecord | None:
        row = self._one(sql.REQUEST_BY_KEY, {"key": idempotency_key})
        return None if row is None else rows.request_record(row)

    async def request(self, request_id: str) -> RequestRecord | None:
        row = self._one(sql.REQUEST, {"request": request_id})
        return None if row is None else rows.request_record(row)

    async def unsettled(self) -> Sequence[RequestRecord]:
        return [rows.request_record(row) for row in self._all(_text(sql.UNSETTLED), {})]

    # -- certificates -----------------------------------------------------------------------

    async def certificate(self, ca: str, serial_number: int) -> CertificateRecord | None:
        values = {"ca": ca, "serial_number": rows.serial(serial_number)}
        row = self._one(sql.CERTIFICATE, values)
        return None if row is None else rows.certificate_record(row)

    async def certificates(
        self,
        *,
        serial_number: int | None = None,
        device_id: str | None = None,
        profile: str | None = None,
        status: CertificateStatus | None = None,
        expires_before: datetime | None = None,
        limit: int = 100,
        after: tuple[datetime, int] | None = None,
    ) -> Sequence[CertificateRecord]:
        wanted: dict[str, Any] = {"device_id": device_id, "profile": profile, "status": status}
        if serial_number is not None:
            wanted["serial_number"] = rows.serial(serial_number)
        if expires_before is not None:
            wanted["expires_before"] = rows.stamp(expires_before)
        wanted = _given(wanted)
        if after is not None:
            wanted |= {
                "after": True,
                "after_time": rows.stamp(after[0]),
                "after_serial": rows.serial(after[1]),
            }
        found = self._page(sql.CERTIFICATES, sql.CERTIFICATE_FILTERS, wanted, limit)
        return [rows.certificate_record(row) for row in found]

    # -- devices ----------------------------------------------------------------------------

    async def device(self, device_id: str) -> Device | None:
        row = self._one(sql.DEVICE, {"device": device_id})
        return None if row is None else rows.device_record(row)

    async def devices(
        self,
        *,
        profile: str | None = None,
        state: DeviceState | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> Sequence[Device]:
        wanted = _given({"profile": profile, "state": state, "after": after})
        found = self._page(sql.DEVICES, sql.DEVICE_FILTERS, wanted, limit)
        return [rows.device_record(row) for row in found]

    async def add_devices(self, devices: Sequence[Device]) -> None:
        def work(db: sqlite3.Connection) -> None:
            for device in devices:
                try:
                    _execute(db, sql.ADD_DEVICE, rows.device_row(device))
                except sqlite3.IntegrityError as error:
                    raise Conflict("device.exists", f"device {device.id} exists") from error

        await self._writer.run(work)

    async def set_device_state(
        self, device_id: str, state: DeviceState, *, expected: Sequence[DeviceState], at: datetime
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            row = db.execute(_text(sql.DEVICE), {"device": device_id}).fetchone()
            if row is None:
                raise NotFound("device.unknown", f"there is no device {device_id}")
            if row["state"] not in expected:
                raise Conflict("device.state", f"device {device_id} is {row['state']}")
            values = {"device": device_id, "to": state, "at": rows.stamp(at)}
            _execute(db, sql.SET_DEVICE_STATE, values)

        await self._writer.run(work)

    # -- credentials ------------------------------------------------------------------------

    async def credential(self, username: str) -> Credential | None:
        row = self._one(sql.CREDENTIAL, {"user": username})
        return None if row is None else rows.credential_record(row)

    async def credentials(
        self, *, profile: str | None = None, limit: int = 100, after: str | None = None
    ) -> Sequence[Credential]:
        wanted = _given({"profile": profile, "after": after})
        found = self._page(sql.CREDENTIALS, sql.CREDENTIAL_FILTERS, wanted, limit)
        return [rows.credential_record(row) for row in found]

    async def add_credential(self, credential: Credential) -> None:
        def work(db: sqlite3.Connection) -> None:
            try:
                _execute(db, sql.ADD_CREDENTIAL, rows.credential_row(credential))
            except sqlite3.IntegrityError as error:
                name = credential.username
                raise Conflict(
                    "credential.exists",
                    f"user name {name} has a credential",
                    hint=f"revoke it first: est-server credential revoke {name}",
                ) from error

        await self._writer.run(work)

    async def revoke_credential(self, username: str, *, at: datetime) -> None:
        def work(db: sqlite3.Connection) -> None:
            values = {"user": username, "at": rows.stamp(at)}
            if not _execute(db, sql.REVOKE_CREDENTIAL, values):
                raise NotFound("credential.unknown", f"user name {username} has no credential")

        await self._writer.run(work)

    # -- decisions and configuration --------------------------------------------------------

    async def decisions(
        self,
        *,
        decision_id: str | None = None,
        request_id: str | None = None,
        device_id: str | None = None,
        identity: str | None = None,
        limit: int = 20,
    ) -> Sequence[DecisionRecord]:
        wanted = _given(
            {
                "decision_id": decision_id,
                "request_id": request_id,
                "device_id": device_id,
                "identity": identity,
            }
        )
        found = self._page(sql.DECISIONS, sql.DECISION_FILTERS, wanted, limit)
        return [rows.decision_record(row) for row in found]

    async def remember_profiles(
        self, profiles: Mapping[str, tuple[str, str]], *, at: datetime
    ) -> None:
        def work(db: sqlite3.Connection) -> None:
            for digest, (name, text) in profiles.items():
                if db.execute(_text(sql.PROFILE_TEXT), {"digest_": digest}).fetchone() is None:
                    row = {"digest": digest, "name": name, "text": text, "first_seen": _at}
                    _execute(db, sql.ADD_PROFILE_TEXT, row)

        _at = rows.stamp(at)
        await self._writer.run(work)

    async def profile_text(self, digest: str) -> tuple[str, str] | None:
        row = self._one(sql.PROFILE_TEXT, {"digest_": digest})
        return None if row is None else (row["name"], row["text"])

    async def report_node(self, status: NodeStatus) -> None:
        def work(db: sqlite3.Connection) -> None:
            _execute(db, sql.FORGET_NODE, {"which": status.node})
            _execute(db, sql.ADD_NODE, rows.node_row(status))

        await self._writer.run(work)

    async def forget_node(self, node: str) -> None:
        await self._writer.run(lambda db: _execute(db, sql.FORGET_NODE, {"which": node}))

    async def nodes(self) -> Sequence[NodeStatus]:
        return [rows.node_record(row) for row in self._all(_text(sql.NODES), {})]

    # -- the store itself -------------------------------------------------------------------

    async def ping(self) -> None:
        self._all("SELECT 1", {})
        await self._writer.run(lambda db: db.execute("SELECT 1").fetchone())

    async def close(self) -> None:
        await self._writer.close()
        self._reader.close()


def _execute(db: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]) -> int:
    return db.execute(_text(statement), values).rowcount


def _given(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _reserve(
    db: sqlite3.Connection,
    reservation: Reservation,
    window_start: int,
    state: Literal["reserved", "issued"] = "reserved",
) -> None:
    request = rows.request_row(reservation.request)
    request["state"] = state
    key = request["idempotency_key"]
    _execute(db, sql.RELEASE_OLD_KEY, {"key": key, "window_start": window_start})
    if reservation.credential_id is not None and not _execute(
        db, sql.SPEND, {"credential": reservation.credential_id}
    ):
        if db.execute(_text(sql.REQUEST_BY_KEY), {"key": key}).fetchone() is not None:
            raise _duplicate()  # its twin took the last use: the answer is the twin's certificate
        raise Conflict("credential.spent", "this credential has no use left")
    _execute(db, sql.ADD_DECISION, rows.decision_row(reservation.decision))
    if (device := reservation.register) is not None and (
        db.execute(_text(sql.DEVICE), {"device": device.id}).fetchone() is None
    ):
        _execute(db, sql.ADD_DEVICE, rows.device_row(device))
    try:
        _execute(db, sql.ADD_REQUEST, request)
    except sqlite3.IntegrityError as error:
        raise _duplicate() from error


def _duplicate() -> Conflict:
    return Conflict("request.duplicate", "the same request is already answered or under way")


def _record(db: sqlite3.Connection, request_id: str, certificate: CertificateRecord) -> None:
    _move(db, request_id, "issued", rows.stamp(certificate.issued_at), None)
    _add_certificate(db, certificate)


def _add_certificate(db: sqlite3.Connection, certificate: CertificateRecord) -> None:
    try:
        _execute(db, sql.ADD_CERTIFICATE, rows.certificate_row(certificate))
    except sqlite3.IntegrityError as error:
        raise Conflict("serial.duplicate", "this serial number exists") from error


def _move(db: sqlite3.Connection, request_id: str, to: str, at: int, reason: str | None) -> None:
    values = {"request": request_id, "to": to, "at": at, "why": reason}
    if not _execute(db, sql.MOVE, values):
        raise Conflict("request.state", f"request {request_id} is not reserved")


def _free(db: sqlite3.Connection, request_id: str) -> None:
    _execute(db, sql.FREE_KEY, {"request": request_id})
    _execute(db, sql.GIVE_BACK, {"request": request_id})


def _unreadable(error: sqlite3.Error) -> BackendUnavailable:
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be read now",
        hint=f"SQLite: {error}",
        retry_after=5,
    )


_: Callable[[Path], Ledger] = SqliteLedger

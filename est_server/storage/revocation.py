"""The part of an SQL ledger that revokes; see `est_server.ports.revocation`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.errors import NotFound
from est_server.ports.revocation import RevocationEvent
from est_server.revocation import rules
from est_server.storage import revocation_statements as sql
from est_server.storage import rows
from est_server.storage import statements as base
from est_server.wire.crl import encode_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord
    from est_server.ports.revocation import (
        Release,
        Revocation,
        RevocationAction,
        Revocations,
        Selection,
    )
    from est_server.storage.transaction import Found, Reads, Transaction, Writer


@dataclass(frozen=True, slots=True)
class SqlRevocations:
    """`Revocations` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def revoke(self, orders: Sequence[Revocation]) -> Sequence[RevocationEvent]:
        return await self._writer.run(lambda db: revoke(db, orders))

    async def release(self, orders: Sequence[Release]) -> Sequence[RevocationEvent]:
        return await self._writer.run(lambda db: release(db, orders))

    async def events(
        self, *, after: int = 0, serial_number: int | None = None, limit: int = 1000
    ) -> Sequence[RevocationEvent]:
        wanted: dict[str, Any] = {"after": after}
        if serial_number is not None:
            wanted["serial_number"] = rows.serial_wanted(serial_number)
        found = await self._reads.page(sql.EVENTS, sql.EVENT_FILTERS, wanted, limit)
        return [_event(row) for row in found]

    async def last_event(self) -> RevocationEvent | None:
        row = await self._reads.one(sql.LAST_EVENT, {})
        return None if row is None else _event(row)

    async def key_blocked(self, spki_sha256: bytes) -> bool:
        return await self._reads.one(sql.BLOCKED, {"key": spki_sha256}) is not None

    async def count_selected(self, selection: Selection) -> int:
        wanted = _wanted(selection)
        found = await self._reads.page(sql.COUNT_SELECTED, sql.SELECTION_FILTERS, wanted, 1)
        return int(found[0]["found"]) if found else 0

    async def selected(
        self,
        selection: Selection,
        *,
        limit: int = 100,
        after: tuple[datetime, int] | None = None,
    ) -> Sequence[CertificateRecord]:
        wanted = _wanted(selection)
        if after is not None:
            wanted |= {
                "after": True,
                "after_time": rows.stamp(after[0]),
                "after_serial": rows.serial_wanted(after[1]),
            }
        found = await self._reads.page(sql.SELECTED, sql.SELECTION_FILTERS, wanted, limit)
        return [rows.certificate_record(row) for row in found]


def revoke(db: Transaction, orders: Sequence[Revocation]) -> list[RevocationEvent]:
    """Revoke or hold certificates; see `Revocations.revoke`."""
    found = []
    for sequence, order in enumerate(orders, _next_sequence(db)):
        row, before = _standing(db, order)
        action, after = rules.revoked(before, order)
        event = _event_of(sequence, order, action, after)
        _write(db, row, event, after)
        if after.reason == rules.COMPROMISE:
            key = {"spki_sha256": row["spki_sha256"], "sequence": sequence}
            if db.find(sql.BLOCKED, {"key": key["spki_sha256"]}) is None:
                db.change(sql.BLOCK, key)
        found.append(event)
    return found


def release(db: Transaction, orders: Sequence[Release]) -> list[RevocationEvent]:
    """Take certificates off hold; see `Revocations.release`."""
    found = []
    for sequence, order in enumerate(orders, _next_sequence(db)):
        row, before = _standing(db, order)
        after = rules.released(before, order)
        event = _event_of(sequence, order, "released", after)
        _write(db, row, event, after)
        found.append(event)
    return found


def _next_sequence(db: Transaction) -> int:
    """Return the next event's number; the lock makes their order the order of commits."""
    db.lock("revocation")
    row = db.find(sql.LAST_SEQUENCE, {})
    return 1 if row is None else int(row[0]) + 1


def _standing(db: Transaction, order: Revocation | Release) -> tuple[Found, rules.Standing]:
    key = {"ca": order.ca, "serial_number": rows.serial(order.serial_number)}
    row = db.find(base.CERTIFICATE, key)
    if row is None:
        text = f"CA {order.ca} has no certificate {order.serial_number:x}"
        raise NotFound("certificate.unknown", text)
    return row, rules.Standing(
        status=row["status"],
        seen=row["der"] is not None,
        reason=row["revocation_reason"],
        revoked_at=rows.time_or_none(row["revoked_at"]),
        invalidity_date=rows.time_or_none(row["invalidity_date"]),
    )


def _write(db: Transaction, row: Found, event: RevocationEvent, after: rules.Standing) -> None:
    of = {"of_ca": row["ca"], "of_serial": row["serial_number"], "shard": row["crl_shard"]}
    db.change(
        sql.SET_STATUS,
        of
        | {
            "to": after.status,
            "date": rows.stamp_or_none(after.revoked_at),
            "why": after.reason,
            "invalid": rows.stamp_or_none(after.invalidity_date),
        },
    )
    entry = None
    if after.reason is not None and after.revoked_at is not None:
        entry = encode_entry(
            event.serial_number, after.revoked_at, after.reason, after.invalidity_date
        )
    db.change(sql.DROP_ENTRY, of)
    db.change(
        sql.ADD_ENTRY,
        {
            "ca": row["ca"],
            "crl_shard": row["crl_shard"],
            "serial_number": row["serial_number"],
            "not_after": row["not_after"],
            "sequence": event.sequence,
            "entry": entry,
        },
    )
    db.change(sql.ADD_EVENT, _event_row(event))


def _event_of(
    sequence: int, order: Revocation | Release, action: RevocationAction, after: rules.Standing
) -> RevocationEvent:
    return RevocationEvent(
        sequence=sequence,
        ca=order.ca,
        serial_number=order.serial_number,
        action=action,
        reason=after.reason,
        revoked_at=after.revoked_at,
        invalidity_date=after.invalidity_date,
        at=order.at,
        actor=order.actor,
        note=order.note,
    )


def _event_row(event: RevocationEvent) -> rows.Row:
    return {
        "sequence": event.sequence,
        "ca": event.ca,
        "serial_number": rows.serial(event.serial_number),
        "action": event.action,
        "reason": event.reason,
        "revoked_at": rows.stamp_or_none(event.revoked_at),
        "invalidity_date": rows.stamp_or_none(event.invalidity_date),
        "at": rows.stamp(event.at),
        "actor": event.actor,
        "note": event.note,
    }


def _event(row: Found) -> RevocationEvent:
    return RevocationEvent(
        sequence=row["sequence"],
        ca=row["ca"],
        serial_number=int(row["serial_number"], 16),
        action=row["action"],
        reason=row["reason"],
        revoked_at=rows.time_or_none(row["revoked_at"]),
        invalidity_date=rows.time_or_none(row["invalidity_date"]),
        at=rows.time(row["at"]),
        actor=row["actor"],
        note=row["note"],
    )


def _wanted(selection: Selection) -> dict[str, Any]:
    wanted: dict[str, Any] = {selection.may: True}
    if selection.may == "release":
        wanted["not_good"] = True
    for name in ("device_id", "profile"):
        if (value := getattr(selection, name)) is not None:
            wanted[name] = value
    for name in ("issued_from", "issued_before"):
        if (time := getattr(selection, name)) is not None:
            wanted[name] = rows.stamp(time)
    return wanted


_: Callable[[Reads, Writer], Revocations] = SqlRevocations

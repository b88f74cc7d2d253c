"""The review queue of an SQL ledger.

The functions are parts of a shared transaction, as those in `est_server.storage.writes`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from est_server.errors import Conflict, NotFound
from est_server.ports.pending import TRANSITIONS, PendingRequest, ReviewQueue
from est_server.storage import pending_statements as sql
from est_server.storage import rows
from est_server.storage.statements import ADD_DECISION
from est_server.storage.transaction import Overtaken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord, DecisionRecord, RequestRecord
    from est_server.ports.pending import Claim, PendingEvent, PendingRequests, PendingState
    from est_server.storage.transaction import Found, Reads, Transaction, Writer


def claim(db: Transaction, wanted: Claim, request_id: str, at: int) -> bool:
    """Use up the record that a reservation answers, and tell whether there is one.

    See `est_server.ports.pending.Claim`.
    """
    row = db.find(sql.PENDING_OPEN_ONE, {"match_key": wanted.match_key})
    if wanted.pending_id is not None:
        if row is None or row["id"] != wanted.pending_id:
            raise _duplicate()
        _move(db, row, "claim", at, request_id)
        return True
    if row is None or bytes(row["content"]) != wanted.content:
        return False
    _move(db, row, "waive", at, request_id)
    return True


def finish(db: Transaction, request_id: str, at: int) -> None:
    """Note that the claim of a request has its certificate."""
    if (row := db.find(sql.PENDING_OF_REQUEST, {"request": request_id})) is not None:
        _move(db, row, "finish", at, request_id)


def release(db: Transaction, request_id: str, at: int) -> None:
    """Give back what a request claimed, since its CA made nothing."""
    if (row := db.find(sql.PENDING_OF_REQUEST, {"request": request_id})) is not None:
        _move(db, row, "return" if row["decided_by"] is None else "release", at, None)


def _move(
    db: Transaction, row: Found, event: PendingEvent, at: int, request_id: str | None
) -> None:
    sources, target = TRANSITIONS[event]
    if row["state"] not in sources:
        raise _duplicate() if event in {"claim", "waive"} else _state(row)
    values = {
        "pending": row["id"], "from_": row["state"], "to": target, "at": at,
        "for_request": request_id,
    }  # fmt: skip
    if not db.change(sql.MOVE_PENDING, values):
        raise Overtaken


def _add(db: Transaction, record: PendingRequest, decision: DecisionRecord, most: int) -> None:
    at = rows.stamp(record.created_at)
    row = db.find(sql.PENDING_OPEN_ONE, {"match_key": record.match_key})
    if row is not None:
        if row["state"] not in TRANSITIONS["expire"][0] or row["expires_at"] > at:
            raise _duplicate()
        _move(db, row, "expire", at, None)
    db.lock(f"pending {record.identity}")
    counted = db.find(sql.PENDING_OF_IDENTITY, {"asker": record.identity})
    if counted is not None and counted["open"] >= most:
        raise Conflict("approval.too-many", f"{most} requests of this identity wait already")
    db.change(ADD_DECISION, rows.decision_row(decision))
    db.change(sql.ADD_PENDING, _row(record))


def _review(
    db: Transaction,
    pending_id: str,
    event: Literal["approve", "deny"],
    values: dict[str, Any],
) -> PendingRequest:
    row = db.find(sql.PENDING, {"pending": pending_id})
    if row is None:
        raise NotFound("request.unknown", f"there is no pending request {pending_id}")
    at = values["at"]
    if row["state"] in TRANSITIONS["expire"][0] and row["expires_at"] <= at:
        raise Conflict("request.state", f"request {pending_id} has expired")
    _move(db, row, event, at, None)
    until = at + row["expires_at"] - row["created_at"]
    if row["decided_at"] is not None:  # an approval is taken back: the span is the same
        until = at + row["expires_at"] - row["decided_at"]
    db.change(sql.REVIEW_PENDING, {**values, "pending": pending_id, "stands_until": until})
    found = db.find(sql.PENDING, {"pending": pending_id})
    if found is None:
        raise RuntimeError("a row vanished in the middle of a transaction")
    return _record(found)


def _expire(db: Transaction, at: int) -> int:
    overdue = [
        row
        for row in db.find_all(sql.PENDING_OVERDUE, {"at": at})
        if row["state"] in TRANSITIONS["expire"][0]
    ]
    for row in overdue:
        _move(db, row, "expire", at, None)
    return len(overdue)


@dataclass(frozen=True, slots=True)
class SqlPending:
    """A `PendingRequests` on the connections of its ledger; the port documents its methods."""

    reads: Reads
    writer: Writer

    async def add(self, record: PendingRequest, decision: DecisionRecord, *, most: int) -> None:
        await self.writer.run(lambda db: _add(db, record, decision, most))

    async def current(self, match_key: bytes) -> PendingRequest | None:
        return await self._one(sql.PENDING_CURRENT, {"match_key": match_key})

    async def get(self, request_id: str) -> PendingRequest | None:
        found = await self._one(sql.PENDING, {"pending": request_id})
        return found or await self._one(sql.PENDING_OF_REQUEST, {"request": request_id})

    async def certificate(self, pending_id: str) -> CertificateRecord | None:
        row = await self.reads.one(sql.PENDING_CERTIFICATE, {"pending": pending_id})
        return None if row is None else rows.certificate_record(row)

    async def review(
        self,
        pending_id: str,
        event: Literal["approve", "deny"],
        *,
        by: str,
        note: str,
        profile_digest: str,
        at: datetime,
    ) -> PendingRequest:
        values = {"by": by, "said": note, "digest_": profile_digest, "at": rows.stamp(at)}
        return await self.writer.run(lambda db: _review(db, pending_id, event, values))

    async def expire(self, at: datetime) -> int:
        stamp = rows.stamp(at)
        return await self.writer.run(lambda db: _expire(db, stamp))

    async def queue(self) -> ReviewQueue:
        row = (await self.reads.all(sql.PENDING_QUEUE))[0]
        return ReviewQueue(row["waiting"], rows.time_or_none(row["oldest"]))

    async def list(
        self, *, state: PendingState | None = None, open_only: bool = False, limit: int = 100
    ) -> Sequence[PendingRequest]:
        wanted: dict[str, Any] = {} if state is None else {"state": state}
        if open_only:
            wanted["open"] = True
        found = await self.reads.page(sql.PENDING_LIST, sql.PENDING_FILTERS, wanted, limit)
        return [_record(row) for row in found]

    async def parked(self, *, limit: int = 100) -> Sequence[tuple[RequestRecord, str]]:
        found = await self.reads.page(sql.PARKED, {}, {}, limit)
        return [(rows.request_record(row), row["reason"] or "") for row in found]

    async def _one(self, statement: Any, values: dict[str, Any]) -> PendingRequest | None:
        row = await self.reads.one(statement, values)
        return None if row is None else _record(row)


def _row(record: PendingRequest) -> rows.Row:
    return {
        "id": record.id,
        "state": record.state,
        "match_key": record.match_key,
        "content": record.content,
        "operation": record.operation,
        "label": record.label,
        "profile": record.profile,
        "identity": record.identity,
        "device_id": record.device_id,
        "spki_sha256": record.spki_sha256,
        "csr": record.csr,
        "decision_id": record.decision_id,
        "created_at": rows.stamp(record.created_at),
        "updated_at": rows.stamp(record.updated_at),
        "expires_at": rows.stamp(record.expires_at),
        "decided_by": record.decided_by,
        "decided_at": rows.stamp_or_none(record.decided_at),
        "note": record.note,
        "profile_digest": record.profile_digest,
        "request_id": record.request_id,
    }


def _record(row: Found) -> PendingRequest:
    return PendingRequest(
        id=row["id"],
        state=row["state"],
        match_key=bytes(row["match_key"]),
        content=bytes(row["content"]),
        operation=row["operation"],
        label=row["label"],
        profile=row["profile"],
        identity=row["identity"],
        device_id=row["device_id"],
        spki_sha256=bytes(row["spki_sha256"]),
        csr=bytes(row["csr"]),
        decision_id=row["decision_id"],
        created_at=rows.time(row["created_at"]),
        updated_at=rows.time(row["updated_at"]),
        expires_at=rows.time(row["expires_at"]),
        decided_by=row["decided_by"],
        decided_at=rows.time_or_none(row["decided_at"]),
        note=row["note"],
        profile_digest=row["profile_digest"],
        request_id=row["request_id"],
    )


def _duplicate() -> Conflict:
    return Conflict("request.duplicate", "the same request is already answered or under way")


def _state(row: Found) -> Conflict:
    return Conflict("request.state", f"request {row['id']} is {row['state']}")


_: Callable[[Reads, Writer], PendingRequests] = SqlPending

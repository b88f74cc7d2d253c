"""The orders of an SQL ledger; see `est_server.ports.orders`.

The functions are parts of a shared transaction, as those in `est_server.storage.writes`.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from est_server.errors import Conflict
from est_server.ports.orders import OpenOrder, Ordered, Question
from est_server.ports.revocation import Revocation
from est_server.storage import order_statements as sql
from est_server.storage import pending, rows
from est_server.storage import statements as base
from est_server.storage.revocation import revoke
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord
    from est_server.ports.orders import OrderEvent, Orders
    from est_server.storage.transaction import Found, Reads, Transaction, Writer


def add(db: Transaction, request_id: str, ordered: Ordered, replaces: int | None) -> None:
    """Write the order of a request."""
    question = ordered.question
    row = {
        "request_id": request_id,
        "csr": ordered.csr,
        "names": ordered.names,
        "match_key": None if question is None else question.match_key,
        "content": None if question is None else question.content,
        "replaces": None if replaces is None else rows.serial(replaces),
        "attempts": 0,
        "next_at": None,
        "ticket": None,
    }
    db.change(sql.ADD_ORDER, row)


def _move(
    db: Transaction,
    event: OrderEvent,
    request_id: str,
    at: datetime,
    reason: str | None = None,
    next_at: datetime | None = None,
) -> None:
    values = {"request": request_id, "at": rows.stamp(at), "why": reason}
    if not db.change(sql.MOVES[event], values):
        raise Conflict("request.state", f"request {request_id} is past that state")
    db.change(sql.NEXT, {"request": request_id, "next": rows.stamp_or_none(next_at)})


def _prepare(db: Transaction, request_id: str, ticket: str, at: datetime) -> None:
    _move(db, "prepare", request_id, at)
    try:
        db.change(sql.TICKET, {"request": request_id, "ticket": ticket})
    except UniqueBroken as error:
        text = "the CA has this order open for another request"
        raise Conflict("order.ticket", text) from error


def _record(
    db: Transaction,
    request_id: str,
    certificate: CertificateRecord,
    reason: str | None,
    write: Callable[[Transaction, CertificateRecord], None],
) -> None:
    _move(db, "record", request_id, certificate.issued_at, reason)
    pending.finish(db, request_id, rows.stamp(certificate.issued_at))
    write(db, certificate)


def _reject(db: Transaction, request_id: str, reason: str, at: datetime) -> None:
    _move(db, "reject", request_id, at, reason)
    db.change(sql.TICKET, {"request": request_id, "ticket": None})
    db.change(base.FREE_KEY, {"request": request_id})
    db.change(base.GIVE_BACK, {"request": request_id})
    pending.release(db, request_id, rows.stamp(at))


def _keep(
    db: Transaction,
    certificate: CertificateRecord,
    reason: str,
    actor: str,
    at: datetime,
) -> bool:
    request_id, number = certificate.request_id, certificate.serial_number
    values = {"request": request_id, "at": rows.stamp(at), "why": reason}
    if db.change(sql.MOVES["park"], values):
        db.change(sql.NEXT, {"request": request_id, "next": None})
    row = rows.certificate_row(certificate)
    if db.find(base.CERTIFICATE, row) is not None:
        return False
    if db.find(sql.CERTIFICATE_OF, {"request": request_id}) is not None:
        mark = secrets.token_hex(4)
        copy = request_id[: -len(mark)] + mark
        db.change(sql.COPY_REQUEST, {"request": request_id, "copy": copy, "why": reason})
        row = rows.certificate_row(replace(certificate, request_id=copy))
    db.change(base.ADD_CERTIFICATE, row)
    order = Revocation(certificate.ca, number, "unspecified", at, actor, note=reason)
    revoke(db, [order])
    return True


@dataclass(frozen=True, slots=True)
class SqlOrders:
    """An `Orders` on the connections of its ledger.

    Attributes:
        reads: of the ledger.
        writer: of the ledger.
        node: whose reservations these are.
        add_certificate: writes a certificate's row in a transaction.
    """

    reads: Reads
    writer: Writer
    node: str
    add_certificate: Callable[[Transaction, CertificateRecord], None]

    async def get(self, request_id: str) -> OpenOrder | None:
        row = await self.reads.one(sql.ORDER, {"request": request_id})
        return None if row is None else _order(row)

    async def asked(self, match_key: bytes) -> OpenOrder | None:
        row = await self.reads.one(sql.ORDER_ASKED, {"match_key": match_key})
        return None if row is None else _order(row)

    async def certificate(self, request_id: str) -> CertificateRecord | None:
        row = await self.reads.one(sql.CERTIFICATE_OF, {"request": request_id})
        return None if row is None else rows.certificate_record(row)

    async def due(
        self, at: datetime, *, abandoned: datetime, limit: int = 100
    ) -> Sequence[OpenOrder]:
        wanted: dict[str, Any] = {
            "at": rows.stamp(at), "abandoned": rows.stamp(abandoned), "most": limit,
        }  # fmt: skip
        return [_order(row) for row in await self.reads.all(sql.ORDERS_DUE, wanted)]

    async def counts(self) -> Mapping[tuple[str, str], int]:
        found = await self.reads.all(sql.COUNTS)
        return {(row["ca"], row["kind"]): row["found"] for row in found}

    async def prepare(self, request_id: str, *, ticket: str, at: datetime) -> None:
        await self.writer.run(lambda db: _prepare(db, request_id, ticket, at))

    async def wait(self, request_id: str, *, until: datetime, reason: str, at: datetime) -> None:
        await self.writer.run(lambda db: _move(db, "wait", request_id, at, reason, until))

    async def ask(self, request_id: str, *, at: datetime) -> None:
        def work(db: Transaction) -> None:
            _move(db, "ask", request_id, at)
            db.change(sql.OWN, {"request": request_id, "whose": self.node})

        await self.writer.run(work)

    async def park(
        self, request_id: str, *, reason: str, next_at: datetime | None, at: datetime
    ) -> None:
        await self.writer.run(lambda db: _move(db, "park", request_id, at, reason, next_at))

    async def take(self, order: OpenOrder, *, until: datetime) -> bool:
        values = {
            "request": order.request.id,
            "same": order.request.id,
            "seen": rows.stamp_or_none(order.next_at),
            "next": rows.stamp(until),
        }
        return bool(await self.writer.run(lambda db: db.change(sql.TAKE, values)))

    async def record(
        self, request_id: str, certificate: CertificateRecord, *, reason: str | None = None
    ) -> None:
        write = self.add_certificate
        await self.writer.run(lambda db: _record(db, request_id, certificate, reason, write))

    async def reject(self, request_id: str, *, reason: str, at: datetime) -> None:
        await self.writer.run(lambda db: _reject(db, request_id, reason, at))

    async def keep(
        self, certificate: CertificateRecord, *, reason: str, actor: str, at: datetime
    ) -> bool:
        return await self.writer.run(lambda db: _keep(db, certificate, reason, actor, at))


def _order(row: Found) -> OpenOrder:
    question = None
    if row["match_key"] is not None:
        question = Question(bytes(row["match_key"]), bytes(row["content"]))
    return OpenOrder(
        request=rows.request_record(row),
        ordered=Ordered(bytes(row["ordered_csr"]), bytes(row["names"]), question),
        replaces=None if row["replaces"] is None else int(row["replaces"], 16),
        attempts=row["attempts"],
        next_at=rows.time_or_none(row["next_at"]),
        reason=row["reason"] or "",
        ticket=row["ticket"],
    )


_: Callable[
    [
        Reads,
        Writer,
        str,
        Callable[[Transaction, CertificateRecord], None],
    ],
    Orders,
] = SqlOrders

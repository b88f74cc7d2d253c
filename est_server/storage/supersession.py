"""The part of an SQL ledger that plans revocations; see `est_server.ports.supersession`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.ports.supersession import PlannedSupersession, Supersession
from est_server.storage import rows
from est_server.storage import supersession_statements as sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.supersession import Outcome, Supersessions
    from est_server.storage.transaction import Found, Reads, Transaction, Writer


def plan(db: Transaction, request_id: str, wanted: Sequence[Supersession]) -> None:
    """Write the plans of a request."""
    for one in wanted:
        row = {
            "ca": one.ca,
            "serial_number": rows.serial(one.serial_number),
            "request_id": request_id,
            "due_at": rows.stamp(one.due_at),
            "outcome": None,
            "done_at": None,
        }
        db.change(sql.ADD_SUPERSESSION, row)


@dataclass(frozen=True, slots=True)
class SqlSupersessions:
    """`Supersessions` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def due(self, at: datetime, *, limit: int = 100) -> Sequence[PlannedSupersession]:
        found = await self._reads.page(sql.DUE, sql.DUE_FILTERS, {"at": rows.stamp(at)}, limit)
        return [_planned(row) for row in found]

    async def settle(self, planned: PlannedSupersession, outcome: Outcome, at: datetime) -> None:
        values = {
            "of_ca": planned.plan.ca,
            "of_serial_number": rows.serial(planned.plan.serial_number),
            "came": outcome,
            "at": rows.stamp(at),
        }
        await self._writer.run(lambda db: db.change(sql.SETTLE, values))

    async def of_certificate(self, ca: str, serial_number: int) -> Sequence[PlannedSupersession]:
        wanted = {"ca": ca, "serial_number": rows.serial_wanted(serial_number)}
        found = await self._reads.page(sql.OF_CERTIFICATE, sql.CERTIFICATE_FILTERS, wanted, 100)
        return [_planned(row) for row in found]


def _planned(row: Found) -> PlannedSupersession:
    number, due_at = int(row["serial_number"], 16), rows.time(row["due_at"])
    return PlannedSupersession(
        Supersession(row["ca"], number, due_at),
        row["request_id"],
        row["outcome"],
        rows.time_or_none(row["done_at"]),
    )


_: Callable[[Reads, Writer], Supersessions] = SqlSupersessions

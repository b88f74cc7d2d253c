"""The cursors of upstream revocation in an SQL ledger; see `est_server.ports.upstream`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.ports.upstream import UpstreamRefusal
from est_server.storage import rows
from est_server.storage import upstream_statements as sql

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from est_server.ports.upstream import UpstreamRevocations
    from est_server.storage.transaction import Reads, Transaction, Writer


def _advance(db: Transaction, ca: str, seen: int, to: int, refusal: UpstreamRefusal | None) -> bool:
    if db.find(sql.POSITION, {"of_ca": ca}) is None:
        db.change(sql.ADD_CURSOR, {"ca": ca, "sequence": 0})
    if not db.change(sql.ADVANCE, {"of_ca": ca, "seen": seen, "to": to}):
        return False
    if refusal is not None:
        _forget(db, ca, refusal.serial_number)
        row = {
            "ca": ca,
            "serial_number": rows.serial(refusal.serial_number),
            "sequence": refusal.sequence,
            "reason": refusal.reason,
            "at": rows.stamp(refusal.at),
        }
        db.change(sql.ADD_REFUSAL, row)
    return True


def _forget(db: Transaction, ca: str, serial_number: int) -> None:
    db.change(sql.DROP_REFUSAL, {"of_ca": ca, "of_serial": rows.serial(serial_number)})


@dataclass(frozen=True, slots=True)
class SqlUpstream:
    """An `UpstreamRevocations` on the connections of its ledger."""

    reads: Reads
    writer: Writer

    async def position(self, ca: str) -> int:
        row = await self.reads.one(sql.POSITION, {"of_ca": ca})
        return 0 if row is None else int(row["sequence"])

    async def advance(
        self, ca: str, *, seen: int, to: int, refusal: UpstreamRefusal | None = None
    ) -> bool:
        return await self.writer.run(lambda db: _advance(db, ca, seen, to, refusal))

    async def refusals(self, *, limit: int = 100) -> Sequence[UpstreamRefusal]:
        found = await self.reads.page(sql.REFUSALS, {}, {}, limit)
        return [
            UpstreamRefusal(
                row["ca"],
                int(row["serial_number"], 16),
                row["sequence"],
                row["reason"],
                rows.time(row["at"]),
            )
            for row in found
        ]

    async def forget_refusal(self, ca: str, serial_number: int) -> None:
        await self.writer.run(lambda db: _forget(db, ca, serial_number))


_: Callable[[Reads, Writer], UpstreamRevocations] = SqlUpstream

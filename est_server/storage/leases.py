"""Leases in an SQL ledger; see `est_server.ports.leases`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Table,
    Text,
    bindparam,
    insert,
    literal_column,
    null,
    select,
    update,
)

from est_server.errors import Conflict
from est_server.ports.leases import Fence, Lease
from est_server.storage import rows
from est_server.storage.tables import metadata
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from est_server.ports.leases import Leases
    from est_server.storage.transaction import Found, Reads, Transaction, Writer

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("token", BigInteger, nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("holder", Text),
    Column("seen_at", BigInteger, nullable=False),
)

_p, _l = bindparam, leases.c
_ONE: ColumnElement[int] = literal_column("1")
_NAMED = _l.name == _p("lease")
_HELD = (_NAMED, _l.token == _p("held"))

LEASE = select(leases).where(_NAMED)
LEASES = select(leases).order_by(_l.name)
ADD = insert(leases)
TAKE = (
    update(leases)
    .where(*_HELD, _l.beat == _p("seen_beat"))
    .values(token=_p("next_token"), beat=_ONE, holder=_p("by"), seen_at=_p("now"))
)
RENEW = update(leases).where(*_HELD).values(beat=_l.beat + _ONE, seen_at=_p("now"))
RELEASE = update(leases).where(*_HELD).values(beat=_l.beat + _ONE, holder=null(), seen_at=_p("now"))


def check_fence(db: Transaction, fence: Fence | None) -> None:
    """Let nobody write who has lost his lease; a part of his transaction.

    Args:
        db: the transaction; nobody else takes the lease before it ends.
        fence: None for an order that needs no lease.

    Raises:
        Conflict: ``lease.lost``.
    """
    if fence is None:
        return
    # a row that is written is locked until the commit, in every engine
    values = {"lease": fence.lease, "held": fence.token}
    if not db.change(_HOLD, values):
        raise Conflict("lease.lost", f"another process has lease {fence.lease} by now")


_HOLD = update(leases).where(*_HELD).values(token=_l.token)


def _take(db: Transaction, name: str, holder: str, seen: Lease | None, now: int) -> Fence:
    taken = Conflict("lease.taken", f"lease {name} is not as it was")
    token = 1 if seen is None else seen.token + 1
    if seen is None:
        new = {"name": name, "token": token, "beat": 1, "holder": holder, "seen_at": now}
        try:
            db.change(ADD, new)
        except UniqueBroken as error:
            raise taken from error
        return Fence(name, token)
    values = {
        "lease": name, "held": seen.token, "seen_beat": seen.beat, "next_token": token,
        "by": holder, "now": now,
    }  # fmt: skip
    if not db.change(TAKE, values):
        raise taken
    return Fence(name, token)


def _renew(db: Transaction, fence: Fence, now: int) -> None:
    values = {"lease": fence.lease, "held": fence.token, "now": now}
    if not db.change(RENEW, values):
        raise Conflict("lease.lost", f"another process has lease {fence.lease} by now")


def _release(db: Transaction, fence: Fence, now: int) -> None:
    db.change(RELEASE, {"lease": fence.lease, "held": fence.token, "now": now})


def _lease(row: Found) -> Lease:
    return Lease(row["name"], row["token"], row["beat"], row["holder"], rows.time(row["seen_at"]))


@dataclass(frozen=True, slots=True)
class SqlLeases:
    """`Leases` on the connections of the ledger that they are a part of."""

    _reads: Reads
    _writer: Writer

    async def get(self, name: str) -> Lease | None:
        row = await self._reads.one(LEASE, {"lease": name})
        return None if row is None else _lease(row)

    async def all(self) -> tuple[Lease, ...]:
        return tuple(map(_lease, await self._reads.all(LEASES)))

    async def take(self, name: str, holder: str, *, seen: Lease | None, at: datetime) -> Fence:
        now = rows.stamp(at)
        return await self._writer.run(lambda db: _take(db, name, holder, seen, now))

    async def renew(self, fence: Fence, *, at: datetime) -> None:
        now = rows.stamp(at)
        await self._writer.run(lambda db: _renew(db, fence, now))

    async def release(self, fence: Fence, *, at: datetime) -> None:
        now = rows.stamp(at)
        await self._writer.run(lambda db: _release(db, fence, now))


_: Callable[[Reads, Writer], Leases] = SqlLeases

"""The audit log of an SQL ledger; see `est_server.ports.audit`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from est_server.audit.leaf import LeafRow
from est_server.audit.rows import ELSEWHERE
from est_server.audit.tiles import GrowingTree, TileName, edge_of
from est_server.audit.tree import leaf_hash
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.audit import MOST_AT_ONCE, AuditState
from est_server.storage import audit_statements as sql
from est_server.storage import rows
from est_server.storage.audit_reader import SqlAuditReader
from est_server.storage.audit_writer import add_leaf
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from est_server.ports.audit import AuditLog, AuditReader
    from est_server.storage.transaction import Found, Reads, Transaction, Writer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SqlAudit:
    """`AuditLog` on the connections of the ledger that it is a part of.

    Attributes:
        reads: of the ledger.
        writer: of the ledger.
        actor: who writes notes.
    """

    reads: Reads
    writer: Writer
    actor: str

    async def note(self, act: str, facts: Mapping[str, str], *, at: datetime) -> None:
        said = (LeafRow(ELSEWHERE, (act,), plain=dict(facts)),)
        stamp = rows.stamp(at)
        await self.writer.run(lambda db: add_leaf(db, self.actor, stamp, said))

    async def extend(
        self, sign: Callable[[int, bytes, str | None], str] | None
    ) -> tuple[int, str | None]:
        return await self.writer.run(lambda db: _extend(db, sign))

    async def state(self) -> AuditState:
        last = (await self.reads.all(sql.LAST_PLACE))[0][0]
        waiting = (await self.reads.all(sql.COUNT_WAITING))[0][0]
        newest = await self.reads.one(sql.NEWEST, {})
        size = 0 if last is None else int(last) + 1
        return AuditState(size, int(waiting), None if newest is None else newest["note"])

    async def places(self, subjects: Collection[str]) -> Sequence[int]:
        found = set()
        for subject in subjects:
            for row in await self.reads.all(sql.PLACES, {"of_subject": subject}):
                found.add(int(row[0]))
        return sorted(found)

    async def keep_timestamp(self, size: int, token: bytes) -> None:
        def work(db: Transaction) -> None:
            if db.find(sql.TIMESTAMP, {"of_size": size}) is None:
                db.change(sql.ADD_TIMESTAMP, {"size": size, "token": token})

        await self.writer.run(work)

    async def at_one_moment(self, look: Callable[[AuditReader], T]) -> T:
        return await self.reads.at_one_moment(lambda db: look(SqlAuditReader(db)))


def _extend(
    db: Transaction, sign: Callable[[int, bytes, str | None], str] | None
) -> tuple[int, str | None]:
    """Give waiting leaves their places; see `AuditLog.extend`."""
    waiting = db.find_all(sql.WAITING, {"after": -1, "most": MOST_AT_ONCE})
    if not waiting:
        return 0, None
    last = db.find(sql.LAST_PLACE, {})
    size = 0 if last is None or last[0] is None else int(last[0]) + 1
    newest = db.find(sql.NEWEST, {})
    before = None if newest is None else newest["note"]
    try:
        _place(db, waiting, size)
        tree = _grow(db, waiting, size)
        if sign is None:
            return len(waiting), None
        note: str = sign(tree.size, tree.root(), before)
        db.change(sql.ADD_CHECKPOINT, {"size": tree.size, "note": note})
    except UniqueBroken as error:
        raise _overtaken() from error
    except KeyError as error:
        raise BackendUnavailable(
            "audit.tree",
            "the audit log can't be extended: its tree is damaged",
            hint=f"tile {error} is missing or short; est-server audit verify tells more",
        ) from error
    return len(waiting), note


def _place(db: Transaction, waiting: Sequence[Found], size: int) -> None:
    for position, row in enumerate(waiting, size):
        if not db.change(sql.PLACE, {"leaf_id": row["id"], "place": position}):
            raise _overtaken()


def _grow(db: Transaction, waiting: Sequence[Found], size: int) -> GrowingTree:
    edge = {}
    for name in edge_of(size):
        row = db.find(sql.TILE, {"of_level": name.level, "of_place": name.place})
        if row is None:
            raise KeyError(tuple(name))
        edge[name] = bytes(row[0])
    tree = GrowingTree(size, dict(edge))
    full = dict(tree.append(leaf_hash(bytes(row["leaf"])) for row in waiting))
    for name, hashes in (full | tree.edge).items():
        _keep(db, name, edge.get(name), hashes)
    return tree


def _keep(db: Transaction, name: TileName, seen: bytes | None, hashes: bytes) -> None:
    if seen is None:
        row = {"level": name.level, "place": name.place, "hashes": hashes}
        db.change(sql.ADD_TILE, row)
    elif seen != hashes:
        at = {"of_level": name.level, "of_place": name.place}
        if not db.change(sql.GROW_TILE, {**at, "seen": seen, "grown": hashes}):
            raise _overtaken()


def _overtaken() -> Conflict:
    return Conflict("audit.sequenced", "somebody else gave these leaves their places")


_: Callable[[Reads, Writer, str], AuditLog] = SqlAudit

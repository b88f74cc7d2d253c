"""The rollovers of an SQL ledger; see `est_server.ports.rollover`."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.errors import Conflict
from est_server.ports.rollover import Follower, FollowerCounts, Rollover, TlsReplacement
from est_server.storage import rollover_statements as sql
from est_server.storage import rows
from est_server.storage.transaction import UniqueBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.rollover import Rollovers, RolloverState
    from est_server.storage.transaction import Found, Reads, Transaction, Writer


@dataclass(frozen=True, slots=True)
class SqlRollovers:
    """`Rollovers` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def all(self) -> Sequence[Rollover]:
        return [_record(row) for row in await self._reads.all(sql.ROLLOVERS)]

    async def add(self, rollover: Rollover) -> None:
        await self._writer.run(lambda db: _add(db, rollover))

    async def move(
        self,
        rollover: Rollover,
        to: RolloverState,
        *,
        at: datetime,
        tls: TlsReplacement | None = None,
    ) -> None:
        await self._writer.run(lambda db: _move(db, rollover, to, at, tls))

    async def note_fetches(
        self, successor: str, identities: Sequence[str], *, anonymous: int, at: datetime
    ) -> None:
        stamp = rows.stamp(at)
        await self._writer.run(lambda db: _note(db, successor, identities, anonymous, stamp))

    async def counts(self, rollover: Rollover, at: datetime) -> FollowerCounts:
        (row,) = await self._reads.page(sql.COUNTS, {}, _of(rollover, at), 1)
        holders, fetched, renewed = row["holders"], row["fetched"], row["renewed"]
        return FollowerCounts(holders, fetched, renewed, holders - fetched - renewed)

    async def behind(
        self, rollover: Rollover, at: datetime, *, limit: int = 100
    ) -> Sequence[Follower]:
        found = await self._reads.page(sql.BEHIND, {}, _of(rollover, at), limit)
        return [
            Follower(
                row["identity"],
                rows.time(row["not_after"]),
                rows.time_or_none(row["fetched_at"]),
                bool(row["renewed"]),
            )
            for row in found
        ]


def _of(rollover: Rollover, at: datetime) -> dict[str, Any]:
    return {"old": rollover.predecessor, "new": rollover.successor, "at": rows.stamp(at)}


def _add(db: Transaction, rollover: Rollover) -> None:
    try:
        db.change(sql.ADD_ROLLOVER, _row(rollover))
    except UniqueBroken as error:
        raise Conflict(
            "rollover.open",
            f"CA {rollover.ca} has a rollover already",
            hint="est-server ca rollover status",
        ) from error


def _move(
    db: Transaction,
    rollover: Rollover,
    to: RolloverState,
    at: datetime,
    tls: TlsReplacement | None,
) -> None:
    stamp = rows.stamp(at)
    published = rows.stamp_or_none(rollover.published_at)
    switched = rows.stamp_or_none(rollover.switched_at)
    values = {
        "of_ca": rollover.ca,
        "of_generation": rollover.generation,
        "from_": rollover.state,
        "to": to,
        "published": stamp if to == "published" and published is None else published,
        "switched": stamp if to == "switched" else switched,
        "ended": stamp if to in {"retired", "aborted"} else None,
        "new_tls": _tls_text(tls or rollover.tls),
    }
    if not db.change(sql.MOVE_ROLLOVER, values):
        raise Conflict("rollover.state", "somebody else changed this rollover meanwhile")


def _note(
    db: Transaction, successor: str, identities: Sequence[str], anonymous: int, at: int
) -> None:
    for identity in identities:
        if db.find(sql.FETCHED, {"of_successor": successor, "who": identity}) is None:
            row = {"successor": successor, "identity": identity, "at": at}
            db.change(sql.ADD_FETCH, row)
    if anonymous:
        db.change(sql.COUNT_ANONYMOUS, {"of_successor": successor, "more": anonymous})


def _row(rollover: Rollover) -> dict[str, Any]:
    content = {
        "settings": dict(rollover.settings),
        "new_root": _text(rollover.new_root),
        "old_with_new": _text(rollover.old_with_new),
        "new_with_old": _text(rollover.new_with_old),
    }
    return {
        "ca": rollover.ca,
        "generation": rollover.generation,
        "state": rollover.state,
        "predecessor": rollover.predecessor,
        "successor": rollover.successor,
        "content": json.dumps(content, ensure_ascii=False),
        "prepared_at": rows.stamp(rollover.prepared_at),
        "published_at": rows.stamp_or_none(rollover.published_at),
        "switched_at": rows.stamp_or_none(rollover.switched_at),
        "ended_at": rows.stamp_or_none(rollover.ended_at),
        "tls": _tls_text(rollover.tls),
        "anonymous_fetches": rollover.anonymous_fetches,
    }


def _record(row: Found) -> Rollover:
    content = json.loads(row["content"])
    return Rollover(
        ca=row["ca"],
        generation=row["generation"],
        state=row["state"],
        predecessor=row["predecessor"],
        successor=row["successor"],
        settings=content["settings"],
        new_root=b64decode(content["new_root"]),
        old_with_new=b64decode(content["old_with_new"]),
        new_with_old=b64decode(content["new_with_old"]),
        prepared_at=rows.time(row["prepared_at"]),
        published_at=rows.time_or_none(row["published_at"]),
        switched_at=rows.time_or_none(row["switched_at"]),
        ended_at=rows.time_or_none(row["ended_at"]),
        tls=_tls(row["tls"]),
        anonymous_fetches=row["anonymous_fetches"],
    )


def _text(octets: bytes) -> str:
    return b64encode(octets).decode()


def _tls_text(tls: TlsReplacement | None) -> str | None:
    if tls is None:
        return None
    chain = [_text(certificate) for certificate in tls.chain]
    return json.dumps({"replaces": tls.replaces.hex(), "chain": chain})


def _tls(text: str | None) -> TlsReplacement | None:
    if text is None:
        return None
    content = json.loads(text)
    return TlsReplacement(
        bytes.fromhex(content["replaces"]), tuple(b64decode(one) for one in content["chain"])
    )


_: Callable[[Reads, Writer], Rollovers] = SqlRollovers

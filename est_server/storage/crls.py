"""CRL numbers, contents and bytes in an SQL ledger; see `est_server.ports.crl`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.errors import Conflict
from est_server.ports.crl import (
    COMPLETE,
    CrlScope,
    Entry,
    Extent,
    PublishedCrl,
    Snapshot,
    Universe,
)
from est_server.storage import crl_statements as sql
from est_server.storage import revocation_statements as revocation
from est_server.storage import rows
from est_server.storage.leases import check_fence

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from est_server.ports.crl import CrlKind, Crls
    from est_server.ports.leases import Fence
    from est_server.storage.transaction import Found, Reads, Transaction, Writer

_PIECE = 16384  # entries that are joined at once: enough to be fast, little enough to be small


@dataclass(frozen=True, slots=True)
class SqlCrls:
    """`Crls` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def add_scope(
        self, ca: str, shard: int, key_identifier: bytes, only_at: str | None = None
    ) -> None:
        await self._writer.run(lambda db: _add_scope(db, ca, shard, key_identifier, only_at))

    async def scopes(self) -> Sequence[CrlScope]:
        found = await self._reads.all(sql.SCOPES)
        lists: dict[tuple[str, int], list[PublishedCrl]] = {}
        for row in await self._reads.all(sql.PUBLISHED):
            crl = _published(row)
            lists.setdefault((crl.ca, crl.shard), []).append(crl)
        return [
            CrlScope(
                ca=row["ca"],
                shard=row["crl_shard"],
                last_number=row["last_number"],
                reserved_at=rows.time_or_none(row["reserved_at"]),
                key_identifier=bytes(row["key_identifier"]),
                only_at=row["only_at"],
                published=tuple(lists.get((row["ca"], row["crl_shard"]), ())),
            )
            for row in found
        ]

    async def reserve_number(
        self,
        ca: str,
        shard: int,
        *,
        after: int,
        at_least: int = 0,
        at: datetime,
        fence: Fence | None = None,
    ) -> int:
        number = max(after, at_least) + 1
        values = {
            "of_ca": ca, "shard": shard, "known": after, "next_number": number,
            "now": rows.stamp(at),
        }  # fmt: skip

        def work(db: Transaction) -> int:
            check_fence(db, fence)
            if not db.change(sql.RESERVE_NUMBER, values):
                raise Conflict("crl.number", f"CA {ca} has another CRL number than {after} by now")
            return number

        return await self._writer.run(work)

    async def changed(self, ca: str, shard: int, *, after: int) -> bool:
        values = {"of_ca": ca, "shard": shard, "since_sequence": after}
        return await self._reads.one(sql.CHANGED[shard <= COMPLETE], values) is not None

    async def snapshot(
        self, ca: str, shard: int, *, now: Extent, since: Extent | None, complete: bool
    ) -> Snapshot:
        return await self._reads.at_one_moment(
            lambda db: _snapshot(db, ca, shard, now, since, complete=complete)
        )

    async def universe(self, ca: str, *, ends_from: datetime) -> Universe:
        return await self._reads.at_one_moment(lambda db: _universe(db, ca, ends_from))

    async def publish(
        self, lists: Sequence[tuple[PublishedCrl, bytes]], *, fence: Fence | None = None
    ) -> None:
        await self._writer.run(lambda db: _publish(db, lists, fence))

    async def crl_der(self, ca: str, shard: int, kind: CrlKind) -> tuple[int, bytes] | None:
        values = {"of_ca": ca, "shard": shard, "of_kind": kind}
        row = await self._reads.one(sql.CRL_DER, values)
        return None if row is None else (row["number"], bytes(row["der"]))


def _add_scope(
    db: Transaction, ca: str, shard: int, key_identifier: bytes, only_at: str | None
) -> None:
    row = db.find(sql.SCOPE, {"of_ca": ca, "shard": shard})
    if row is None:
        new = {
            "ca": ca, "crl_shard": shard, "last_number": 0, "reserved_at": None,
            "key_identifier": key_identifier, "only_at": only_at,
        }  # fmt: skip
        db.change(sql.ADD_SCOPE, new)
    elif bytes(row["key_identifier"]) != key_identifier:
        raise Conflict(
            "crl.key",
            f"the CRLs of CA {ca} belong to another key",
            hint="give the CA with the new key a name of its own, and keep the old one in "
            "server.yaml until its certificates have expired",
        )
    elif row["only_at"] != only_at:
        raise Conflict(
            "crl.url",
            f"certificates of CA {ca} name its partial CRL {shard} at {row['only_at']}",
            hint=f"set cas.{ca}.crl.url to where it is found under that name, and let the name "
            "lead to this server",
        )


def _snapshot(
    db: Transaction,
    ca: str,
    shard: int,
    now: Extent,
    since: Extent | None,
    *,
    complete: bool,
) -> Snapshot:
    whole = shard == COMPLETE
    values: dict[str, Any] = {
        "of_ca": ca,
        "shard": shard,
        "expired_before": rows.stamp(now.expired_before),
        "listed_up_to": now.listed_up_to,
    }
    sequence = _last_sequence(db)
    pieces = _pieces(db, values, whole=whole) if complete else None
    if since is None:
        return Snapshot(sequence, pieces, ())
    ends = sorted((rows.stamp(since.expired_before), values["expired_before"]))
    shown = sorted((since.listed_up_to, now.listed_up_to))
    values |= {
        "since_sequence": since.sequence,
        "ended_from": ends[0],
        "ended_before": ends[1],
        "shown_after": shown[0],
        "shown_up_to": min(shown[1], since.sequence),  # one bound, or the planner takes either
    }
    statements = (sql.CHANGED_SINCE[whole], sql.ENDED_BETWEEN[whole], sql.SHOWN_BETWEEN[whole])
    changed = [_entry(row) for one in statements for row in db.find_all(one, values)]
    return Snapshot(sequence, pieces, changed)


def _last_sequence(db: Transaction) -> int:
    row = db.find(revocation.LAST_SEQUENCE, {})
    return 0 if row is None else int(row[0])


def _universe(db: Transaction, ca: str, ends_from: datetime) -> Universe:
    values = {"of_ca": ca, "ends_from": rows.stamp(ends_from)}
    serials, begins = {}, []
    for good, query in ((True, sql.SERIALS_GOOD), (False, sql.SERIALS_NOT_GOOD)):
        (found,) = db.find_all(query, values)
        serials[good] = bytes.fromhex(found[0] or "")
        if found[1] is not None:
            begins.append(found[1])
    for row in db.find_all(sql.SERIALS_UNDER_WAY, {"of_ca": ca}):
        serials[row["state"] == "reserved"] += bytes.fromhex(row["serial_number"])
    return Universe(
        sequence=_last_sequence(db),
        good=serials[True],
        not_good=serials[False],
        begins=rows.time(min(begins)) if begins else None,
    )


def _pieces(db: Transaction, values: dict[str, Any], *, whole: bool) -> list[bytes]:
    return [b"".join(entries) for entries in db.column(sql.COMPLETE[whole], values, _PIECE)]


def _entry(row: Found) -> Entry:
    return Entry(
        serial_number=int(row["serial_number"], 16),
        not_after=rows.time(row["not_after"]),
        sequence=row["sequence"],
        der=row["entry"],
    )


def _publish(
    db: Transaction, lists: Sequence[tuple[PublishedCrl, bytes]], fence: Fence | None
) -> None:
    check_fence(db, fence)
    first = lists[0][0]
    scope = {"of_ca": first.ca, "shard": first.shard}
    db.lock(f"crl {first.ca} {first.shard}")
    row = db.find(sql.LAST_PUBLISHED, scope)
    if row is not None and int(row[0]) >= first.number:
        raise Conflict("crl.superseded", f"CRL {row[0]} of CA {first.ca} is published already")
    for crl, der in lists:
        db.change(sql.ADD_CRL, {**_row(crl), "der": der})
        older = {**scope, "of_kind": crl.kind, "than": crl.number}
        db.change(sql.EMPTY_OLDER, older)
        # a delta is forgotten with its successor, a complete list when it has ended
        end = rows.LATEST if crl.kind == "delta" else rows.stamp(crl.this_update)
        db.change(sql.DROP_ENDED, {**older, "end": end})


def _row(crl: PublishedCrl) -> rows.Row:
    return {
        "ca": crl.ca,
        "crl_shard": crl.shard,
        "number": crl.number,
        "kind": crl.kind,
        "base_number": crl.base_number,
        "this_update": rows.stamp(crl.this_update),
        "next_update": rows.stamp(crl.next_update),
        "sequence": crl.extent.sequence,
        "expired_before": rows.stamp(crl.extent.expired_before),
        "listed_up_to": crl.extent.listed_up_to,
        "size": crl.size,
        "published_at": rows.stamp(crl.published_at),
    }


def _published(row: Found) -> PublishedCrl:
    return PublishedCrl(
        ca=row["ca"],
        shard=row["crl_shard"],
        number=row["number"],
        kind=row["kind"],
        base_number=row["base_number"],
        this_update=rows.time(row["this_update"]),
        next_update=rows.time(row["next_update"]),
        extent=Extent(
            sequence=row["sequence"],
            expired_before=rows.time(row["expired_before"]),
            listed_up_to=row["listed_up_to"],
        ),
        size=row["size"],
        published_at=rows.time(row["published_at"]),
    )


_: Callable[[Reads, Writer], Crls] = SqlCrls

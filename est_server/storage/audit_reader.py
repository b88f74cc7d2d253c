"""The audit log and what it speaks of, as `audit verify` reads them: all in one transaction."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    and_,
    bindparam,
    exists,
    func,
    literal_column,
    or_,
    select,
    tuple_,
)

from est_server.audit.rows import WATCHED
from est_server.audit.tiles import TileName
from est_server.storage import audit_statements as sql
from est_server.storage import rows
from est_server.storage.revocation_tables import (
    blocked_keys,
    revocation_entries,
    revocation_events,
)
from est_server.storage.tables import certificates, credentials, metadata, requests
from est_server.wire.crl import encode_entry

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Select

    from est_server.ports.audit import AuditReader
    from est_server.storage.transaction import Found, Transaction

_PAGE = 1000
_p = bindparam
_NONE: ColumnElement[int] = literal_column("0")


@dataclass(frozen=True, slots=True)
class SqlAuditReader:
    """An `AuditReader` in a transaction that sees one moment."""

    db: Transaction

    def size(self) -> int:
        last = self.db.find(sql.LAST_PLACE, {})
        return 0 if last is None or last[0] is None else int(last[0]) + 1

    def leaves(self, start: int, limit: int) -> Sequence[tuple[int, bytes]]:
        found = self.db.find_all(sql.LEAVES, {"start": start, "most": limit})
        return [(int(row[0]), bytes(row[1])) for row in found]

    def waiting(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        found = self.db.find_all(sql.WAITING, {"after": after, "most": limit})
        return [(int(row[0]), bytes(row[1])) for row in found]

    def tiles(self, names: Collection[tuple[int, int]]) -> Mapping[tuple[int, int], bytes]:
        found = {}
        for level, place in names:
            row = self.db.find(sql.TILE, {"of_level": level, "of_place": place})
            if row is not None:
                found[level, place] = bytes(row[0])
        return found

    def tile_names(self) -> Iterator[tuple[int, int]]:
        at = TileName(-1, -1)
        while True:
            values = {"of_level": at.level, "same_level": at.level, "of_place": at.place}
            found = self.db.find_all(sql.TILE_NAMES, {**values, "most": _PAGE})
            for row in found:
                at = TileName(row[0], row[1])
                yield at
            if len(found) < _PAGE:
                return

    def checkpoints(self, after: int, limit: int) -> Sequence[tuple[int, str]]:
        found = self.db.find_all(sql.CHECKPOINTS, {"after": after, "most": limit})
        return [(int(row[0]), row[1]) for row in found]

    def timestamps(self, after: int, limit: int) -> Sequence[tuple[int, bytes]]:
        found = self.db.find_all(sql.TIMESTAMPS, {"after": after, "most": limit})
        return [(int(row[0]), bytes(row[1])) for row in found]

    def rows(self, table: str) -> Iterator[Mapping[str, Any]]:
        names = WATCHED[table].columns
        for row in self._paged(_all_rows(table), WATCHED[table].key):
            yield {name: row[name] for name in names}

    def derived(self) -> Iterator[tuple[str, str, str, str]]:
        yield from self._entries()
        for row in self.db.find_all(_WITHOUT_ENTRY, {}):
            key = f"{row['serial_number']}/{row['ca']}"
            text = f"certificate {key} is {row['status']} and has no entry"
            yield "revocation_entries", key, "", text
        for row in self.db.find_all(_NOT_BLOCKED, {}):
            key = bytes(row["spki_sha256"]).hex()
            yield "blocked_keys", key, "", "this key was compromised and is not blocked"
        for row in self.db.find_all(_BLOCKED_FOR_NOTHING, {}):
            key = bytes(row["spki_sha256"]).hex()
            yield "blocked_keys", key, "", "no revocation blocked this key"
        spent = {row[0]: int(row[1]) for row in self.db.find_all(_SPENT, {})}
        for row in self._paged(_CREDENTIALS, ("id",)):
            counted = spent.get(row["id"], 0)
            if row["uses"] < counted:  # more: requests that are forgotten by now (`retention`)
                text = f"says {row['uses']}, and {counted} requests used this credential"
                yield "credentials", row["id"], "uses", text

    def _entries(self) -> Iterator[tuple[str, str, str, str]]:
        for row in self._paged(_ENTRIES, ("ca", "crl_shard", "serial_number")):
            key = f"{row['ca']}/{row['crl_shard']}/{row['serial_number']}"
            if row["status"] is None:
                yield "revocation_entries", key, "", "there is no such certificate"
                continue
            expected = None
            if row["revocation_reason"] is not None and row["revoked_at"] is not None:
                expected = encode_entry(
                    int(row["serial_number"], 16),
                    rows.time(row["revoked_at"]),
                    row["revocation_reason"],
                    rows.time_or_none(row["invalidity_date"]),
                )
            found = None if row["entry"] is None else bytes(row["entry"])
            if found != expected:
                yield "revocation_entries", key, "entry", "is not what became of its certificate"

    def _paged(self, pages: tuple[Select[Any], Select[Any]], key: Sequence[str]) -> Iterator[Found]:
        first, following = pages
        found = self.db.find_all(first, {"most": _PAGE})
        while found:
            yield from found
            if len(found) < _PAGE:
                return
            after = {f"after_{place}": found[-1][name] for place, name in enumerate(key)}
            found = self.db.find_all(following, {**after, "most": _PAGE})


def _pages(statement: Select[Any], key: Sequence[Any]) -> tuple[Select[Any], Select[Any]]:
    """Return a statement for the first page of all rows, and one for those that follow."""
    ordered = statement.order_by(*key).limit(_p("most")).offset(_NONE)
    places: list[Any] = [_p(f"after_{place}") for place in range(len(key))]
    return ordered, ordered.where(tuple_(*key) > tuple_(*places))


@cache
def _all_rows(table: str) -> tuple[Select[Any], Select[Any]]:
    watched, columns = WATCHED[table], metadata.tables[table].c
    chosen = select(*(columns[name] for name in watched.columns))
    return _pages(chosen, [columns[name] for name in watched.key])


_c, _e, _v, _b = certificates.c, revocation_entries.c, revocation_events.c, blocked_keys.c
_COMPROMISE: ColumnElement[str] = literal_column("'keyCompromise'")
_REJECTED: ColumnElement[str] = literal_column("'rejected'")
_GOOD: ColumnElement[str] = literal_column("'good'")
_same = and_(_c.ca == _e.ca, _c.serial_number == _e.serial_number)
_ENTRIES = _pages(
    select(
        _e.ca, _e.crl_shard, _e.serial_number, _e.entry,
        _c.status, _c.revoked_at, _c.revocation_reason, _c.invalidity_date,
    ).select_from(revocation_entries.outerjoin(certificates, _same)),
    [_e.ca, _e.crl_shard, _e.serial_number],
)  # fmt: skip
_WITHOUT_ENTRY = select(_c.serial_number, _c.ca, _c.status).where(
    _c.status != _GOOD,
    or_(_c.revoked_at.is_not(None), _c.revocation_reason.is_not(None)),
    ~exists().where(_same, _e.crl_shard == _c.crl_shard),
)
_of_event = and_(_c.ca == _v.ca, _c.serial_number == _v.serial_number)
_NOT_BLOCKED = (
    select(_c.spki_sha256)
    .join(revocation_events, _of_event)
    .where(_v.reason == _COMPROMISE, ~exists().where(_b.spki_sha256 == _c.spki_sha256))
    .distinct()
)
_BLOCKED_FOR_NOTHING = select(_b.spki_sha256).where(
    ~exists().where(_c.spki_sha256 == _b.spki_sha256, _of_event, _v.reason == _COMPROMISE)
)
_SPENT = (
    select(requests.c.credential_id, func.count())
    .where(requests.c.credential_id.is_not(None), requests.c.state != _REJECTED)
    .group_by(requests.c.credential_id)
)
_CREDENTIALS = _pages(select(credentials.c.id, credentials.c.uses), [credentials.c.id])

_: Callable[[Transaction], AuditReader] = SqlAuditReader

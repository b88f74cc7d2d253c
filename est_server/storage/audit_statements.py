"""Statements of the audit log, and what the ledger's own statements mean to it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, bindparam, func, insert, literal_column, select, update

from est_server.audit.rows import WATCHED
from est_server.storage import device_key_statements as device_keys
from est_server.storage import order_statements as orders
from est_server.storage import pending_statements as pending
from est_server.storage import retention_statements as retention
from est_server.storage import revocation_statements as revocation
from est_server.storage import rollover_statements as rollover
from est_server.storage import statements as base
from est_server.storage.audit_tables import (
    audit_checkpoints,
    audit_leaves,
    audit_tiles,
    audit_timestamps,
)
from est_server.storage.tables import metadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Executable, Select

_p = bindparam
_l, _t, _c = audit_leaves.c, audit_tiles.c, audit_checkpoints.c
_NONE: ColumnElement[int] = literal_column("0")

# -- the log ---------------------------------------------------------------------------------------
ADD_LEAF = (  # inline: PostgreSQL need not tell which id it gave
    insert(audit_leaves).values(subject=_p("subject"), leaf=_p("leaf")).inline()
)
LAST_PLACE = select(func.max(_l.position))
WAITING = (
    select(_l.id, _l.leaf)
    .where(_l.position.is_(None), _l.id > _p("after"))
    .order_by(_l.id)
    .limit(_p("most"))
    .offset(_NONE)
)
COUNT_WAITING = select(func.count()).select_from(audit_leaves).where(_l.position.is_(None))
PLACE = (
    update(audit_leaves)
    .where(_l.id == _p("leaf_id"), _l.position.is_(None))
    .values(position=_p("place"))
)
PLACES = (
    select(_l.position)
    .where(_l.subject == _p("of_subject"), _l.position.is_not(None))
    .order_by(_l.position)
)
LEAVES = (
    select(_l.position, _l.leaf)
    .where(_l.position >= _p("start"))
    .order_by(_l.position)
    .limit(_p("most"))
    .offset(_NONE)
)
TILE = select(_t.hashes).where(_t.level == _p("of_level"), _t.place == _p("of_place"))
TILE_NAMES = (
    select(_t.level, _t.place)
    .where(
        (_t.level > _p("of_level")) | and_(_t.level == _p("same_level"), _t.place > _p("of_place"))
    )
    .order_by(_t.level, _t.place)
    .limit(_p("most"))
    .offset(_NONE)
)
ADD_TILE = insert(audit_tiles)
GROW_TILE = (
    update(audit_tiles)
    .where(_t.level == _p("of_level"), _t.place == _p("of_place"), _t.hashes == _p("seen"))
    .values(hashes=_p("grown"))
)
ADD_CHECKPOINT = insert(audit_checkpoints)
NEWEST = select(_c.size, _c.note).order_by(_c.size.desc()).limit(literal_column("1")).offset(_NONE)
CHECKPOINTS = (
    select(_c.size, _c.note)
    .where(_c.size > _p("after"))
    .order_by(_c.size)
    .limit(_p("most"))
    .offset(_NONE)
)
ADD_TIMESTAMP = insert(audit_timestamps)
TIMESTAMP = select(audit_timestamps.c.size).where(audit_timestamps.c.size == _p("of_size"))
TIMESTAMPS = (
    select(audit_timestamps)
    .where(audit_timestamps.c.size > _p("after"))
    .order_by(audit_timestamps.c.size)
    .limit(_p("most"))
    .offset(_NONE)
)

# -- the rows that it speaks about -----------------------------------------------------------------


def _row_of(table: str) -> Select[Any]:
    watched, columns = WATCHED[table], metadata.tables[table].c
    return select(*(columns[name] for name in watched.columns)).where(
        *(columns[name] == _p(f"key_{place}") for place, name in enumerate(watched.key))
    )


ROW: Mapping[str, Select[Any]] = MappingProxyType({table: _row_of(table) for table in WATCHED})

WRITES: Mapping[Executable, str] = MappingProxyType(
    {
        base.ADD_DECISION: "decisions",
        base.ADD_REQUEST: "requests",
        base.ADD_CERTIFICATE: "certificates",
        base.ADD_DEVICE: "devices",
        base.ADD_CREDENTIAL: "credentials",
        base.ADD_PROFILE_TEXT: "profile_texts",
        pending.ADD_PENDING: "pending_requests",
        revocation.ADD_EVENT: "revocation_events",
        rollover.ADD_ROLLOVER: "rollovers",
        device_keys.ADD_DEVICE_KEY: "device_keys",
    }
)
"""What writes a row whose columns are its values -> the row's table."""

CHANGES: Mapping[Executable, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        base.MOVE: ("requests", ("request",)),
        base.SET_DEVICE_STATE: ("devices", ("device",)),
        pending.MOVE_PENDING: ("pending_requests", ("pending",)),
        pending.REVIEW_PENDING: ("pending_requests", ("pending",)),
        revocation.SET_STATUS: ("certificates", ("of_serial", "of_ca")),
        rollover.MOVE_ROLLOVER: ("rollovers", ("of_ca", "of_generation")),
        device_keys.REMOVE_DEVICE_KEY: ("device_keys", ("device", "named")),
        retention.FORGET_EVENT: ("revocation_events", ("sequence",)),
        retention.FORGET_CERTIFICATE: ("certificates", ("of_serial", "of_ca")),
        retention.FORGET_REQUEST: ("requests", ("request",)),
        retention.FORGET_REVIEW: ("pending_requests", ("review",)),
        retention.FORGET_DECISION: ("decisions", ("decision",)),
        retention.FORGET_CREDENTIAL: ("credentials", ("credential",)),
        orders.COPY_REQUEST: ("requests", ("copy",)),
        **dict.fromkeys(orders.MOVES.values(), ("requests", ("request",))),
    }
)
"""What changes, copies or removes one row -> its table, and which values are its key."""

FINDS: Mapping[Executable, tuple[str, Select[Any]]] = MappingProxyType(
    {
        base.REVOKE_CREDENTIAL: ("credentials", base.CREDENTIAL),
    }
)
"""What changes one row that it does not name by its key -> its table, and what finds it before."""

COPIES: frozenset[Executable] = frozenset({orders.COPY_REQUEST})
ENDS: frozenset[Executable] = frozenset({revocation.ADD_EVENT})
"""The last statement of an act, where a transaction has many."""

SILENT: frozenset[Executable] = frozenset(
    {
        base.RELEASE_OLD_KEY, base.FREE_KEY, base.SPEND, base.GIVE_BACK, base.SEEN, orders.OWN,
        rollover.COUNT_ANONYMOUS,
    }
)  # fmt: skip
"""What changes columns that the log does not speak about."""

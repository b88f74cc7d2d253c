"""The table and the statements of orders; conventions as in `est_server.storage.tables`."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    text,
    update,
)

from est_server.ports.orders import TRANSITIONS
from est_server.storage.tables import certificates, metadata, requests

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement, Update

orders = Table(
    "orders",
    metadata,
    Column("request_id", Text, ForeignKey("requests.id"), primary_key=True),
    Column("csr", LargeBinary, nullable=False),
    Column("names", LargeBinary, nullable=False),
    Column("match_key", LargeBinary),
    Column("content", LargeBinary),
    Column("replaces", Text),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger),
    Column("ticket", Text),
    Index(
        "ix_orders_match_key_request_id",
        "match_key",
        "request_id",
        sqlite_where=text("match_key IS NOT NULL"),
        postgresql_where=text("match_key IS NOT NULL"),
    ),
    Index(
        "ix_orders_next_at",
        "next_at",
        sqlite_where=text("next_at IS NOT NULL"),
        postgresql_where=text("next_at IS NOT NULL"),
    ),
    Index(
        "uq_orders_ticket",
        "ticket",
        unique=True,
        sqlite_where=text("ticket IS NOT NULL"),
        postgresql_where=text("ticket IS NOT NULL"),
    ),
)

_p = bindparam
_c = orders.c
_r = requests.c
_NONE: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_PARKED: ColumnElement[str] = literal_column("'parked'")
_WAITING: ColumnElement[str] = literal_column("'waiting'")
_REJECTED: ColumnElement[str] = literal_column("'rejected'")

ADD_ORDER = insert(orders)
_ORDERS = select(
    requests, _c.csr.label("ordered_csr"), _c.names, _c.match_key, _c.content, _c.replaces,
    _c.attempts, _c.next_at, _c.ticket,
).join(orders, _c.request_id == _r.id)  # fmt: skip
ORDER = _ORDERS.where(_c.request_id == _p("request"))
ORDER_ASKED = (
    _ORDERS.where(_c.match_key == _p("match_key"))
    .order_by(_c.request_id.desc())
    .limit(_ONE)
    .offset(_NONE)
)
ORDERS_DUE = (
    _ORDERS.where(
        or_(
            and_(_r.state == _PARKED, _c.next_at <= _p("at")),
            and_(_r.state == _WAITING, _c.next_at <= _p("abandoned")),
        )
    )
    .order_by(_c.next_at)
    .limit(_p("most"))
    .offset(_NONE)
)


COUNTS = (
    select(
        _r.ca,
        case(
            (_r.state == _WAITING, literal_column("'waiting'")),
            (_r.reason.like(literal_column("'issued.%'")), literal_column("'refused'")),
            else_=literal_column("'unknown'"),
        ).label("kind"),
        func.count().label("found"),
    )
    .where(
        _r.state.in_([_WAITING, _PARKED]),
        text("state IN ('reserved', 'waiting', 'parked')"),  # in the partial index's words
    )
    .group_by(_r.ca, text("kind"))
)


def _moved(event: str) -> Update:
    sources, target = TRANSITIONS[event]  # type: ignore[index]  # each is a key of it
    states: list[ColumnElement[str]] = [literal_column(f"'{state}'") for state in sorted(sources)]
    return (
        update(requests)
        .where(_r.id == _p("request"), _r.state.in_(states))
        .values(state=literal_column(f"'{target}'"), updated_at=_p("at"), reason=_p("why"))
    )


MOVES: Mapping[str, Update] = MappingProxyType({event: _moved(event) for event in TRANSITIONS})
OWN = update(requests).where(_r.id == _p("request")).values(node=_p("whose"))
TICKET = update(orders).where(_c.request_id == _p("request")).values(ticket=_p("ticket"))
NEXT = update(orders).where(_c.request_id == _p("request")).values(next_at=_p("next"))
TAKE = (
    update(orders)
    .where(
        _c.request_id == _p("request"),
        _c.next_at == _p("seen"),
        _c.request_id.in_(select(_r.id).where(_r.id == _p("same"), _r.state == _PARKED)),
    )
    .values(next_at=_p("next"), attempts=_c.attempts + _ONE)
)
CERTIFICATE_OF = select(certificates).where(certificates.c.request_id == _p("request"))
_copied = [
    column
    for column in requests.c
    if column.name not in {"id", "state", "idempotency_key", "credential_id", "reason"}
]
COPY_REQUEST = insert(requests).from_select(
    ["id", "state", "idempotency_key", "credential_id", "reason", *(c.name for c in _copied)],
    select(_p("copy").label("id"), _REJECTED, null(), null(), _p("why").label("reason"), *_copied)
    .where(_r.id == _p("request")),
)  # fmt: skip

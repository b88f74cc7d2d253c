"""The tables and the statements of rollovers; conventions as in `est_server.storage.tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    case,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from est_server.storage.tables import certificates, metadata

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_OPEN = "state IN ('prepared', 'published', 'switched')"

rollovers = Table(
    "rollovers",
    metadata,
    Column("ca", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("predecessor", Text, nullable=False),
    Column("successor", Text, nullable=False, unique=True),
    Column("content", Text, nullable=False),
    Column("prepared_at", BigInteger, nullable=False),
    Column("published_at", BigInteger),
    Column("switched_at", BigInteger),
    Column("ended_at", BigInteger),
    Column("tls", Text),
    Column("anonymous_fetches", Integer, nullable=False),
    PrimaryKeyConstraint("ca", "generation"),
    Index(
        "uq_rollovers_open",
        "ca",
        unique=True,
        sqlite_where=text(_OPEN),
        postgresql_where=text(_OPEN),
    ),
)

cacerts_fetches = Table(
    "cacerts_fetches",
    metadata,
    Column("successor", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("successor", "identity"),
)

_p = bindparam
_c = rollovers.c
_GOOD: ColumnElement[str] = literal_column("'good'")
_RESPONDER: ColumnElement[str] = literal_column("'ocsp-responder'")  # this server's own
_ONE: ColumnElement[int] = literal_column("1")
_NONE: ColumnElement[int] = literal_column("0")

ROLLOVERS = select(rollovers).order_by(_c.ca, _c.generation)
ADD_ROLLOVER = insert(rollovers)
MOVE_ROLLOVER = (
    update(rollovers)
    .where(
        _c.ca == _p("of_ca"),
        _c.generation == _p("of_generation"),
        _c.state == _p("from_"),
    )
    .values(
        state=_p("to"),
        published_at=_p("published"),
        switched_at=_p("switched"),
        ended_at=_p("ended"),
        tls=_p("new_tls"),
    )
)
COUNT_ANONYMOUS = (
    update(rollovers)
    .where(_c.successor == _p("of_successor"))
    .values(anonymous_fetches=_c.anonymous_fetches + _p("more"))
)
FETCHED = select(cacerts_fetches).where(
    cacerts_fetches.c.successor == _p("of_successor"),
    cacerts_fetches.c.identity == _p("who"),
)
ADD_FETCH = insert(cacerts_fetches)

_renewed = func.max(case((certificates.c.ca == _p("new"), _ONE), else_=_NONE))
_holders = (
    select(
        certificates.c.identity.label("identity"),
        func.max(certificates.c.not_after).label("not_after"),
        _renewed.label("renewed"),
    )
    .where(
        certificates.c.ca.in_((_p("old"), _p("new"))),
        certificates.c.status == _GOOD,
        certificates.c.not_after > _p("at"),
        certificates.c.profile != _RESPONDER,
    )
    .group_by(certificates.c.identity)
    .subquery("holders")
)
_followers = _holders.outerjoin(
    cacerts_fetches,
    (cacerts_fetches.c.identity == _holders.c.identity)
    & (cacerts_fetches.c.successor == _p("new")),
)
_h, _f = _holders.c, cacerts_fetches.c
COUNTS = select(
    func.count().label("holders"),
    func.count(_f.at).label("fetched"),
    func.coalesce(func.sum(case((_f.at.is_(None), _h.renewed), else_=_NONE)), _NONE).label(
        "renewed"
    ),
).select_from(_followers)
BEHIND = (
    select(_h.identity, _h.not_after, _f.at.label("fetched_at"), _h.renewed)
    .select_from(_followers)
    .where(_f.at.is_(None), _h.renewed == _NONE)
    .order_by(_h.identity)
    .limit(_p("most"))
    .offset(_NONE)
)

"""The table and the statements of supersession; conventions as in `est_server.storage.tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    exists,
    insert,
    literal_column,
    select,
    text,
    update,
)

from est_server.storage.tables import metadata, requests

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

supersessions = Table(
    "supersessions",
    metadata,
    Column("ca", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("request_id", Text, ForeignKey("requests.id"), nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("outcome", Text),
    Column("done_at", BigInteger),
    PrimaryKeyConstraint("serial_number", "ca", "request_id"),
    Index(
        "ix_supersessions_open",
        "due_at",
        sqlite_where=text("outcome IS NULL"),
        postgresql_where=text("outcome IS NULL"),
    ),
)

_p = bindparam
_c = supersessions.c
_NONE: ColumnElement[int] = literal_column("0")
_ISSUED: ColumnElement[str] = literal_column("'issued'")
_later = supersessions.alias("later")
_later_request = requests.alias("later_request")
_extended = exists().where(
    _later.c.ca == _c.ca,
    _later.c.serial_number == _c.serial_number,
    _later.c.due_at > _p("at"),
    _later_request.c.id == _later.c.request_id,
    _later_request.c.state == _ISSUED,
)

ADD_SUPERSESSION = insert(supersessions)
SUPERSESSIONS = (
    select(supersessions)
    .join(requests, requests.c.id == _c.request_id)
    .where(requests.c.state == _ISSUED)
    .limit(_p("most"))
    .offset(_NONE)
)
DUE = SUPERSESSIONS.where(_c.outcome.is_(None), ~_extended).order_by(_c.due_at)
DUE_FILTERS = {"at": _c.due_at <= _p("at")}
OF_CERTIFICATE = SUPERSESSIONS.order_by(_c.due_at.desc())
CERTIFICATE_FILTERS = {
    "ca": _c.ca == _p("ca"),
    "serial_number": _c.serial_number == _p("serial_number"),
}
SETTLE = (
    update(supersessions)
    .where(_c.ca == _p("of_ca"), _c.serial_number == _p("of_serial_number"), _c.outcome.is_(None))
    .values(outcome=_p("came"), done_at=_p("at"))
)

"""The tables and statements of upstream revocation; conventions as in `storage.tables`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
    update,
)

from est_server.storage.tables import metadata

upstream_cursors = Table(
    "upstream_cursors",
    metadata,
    Column("ca", Text, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
)

upstream_refusals = Table(
    "upstream_refusals",
    metadata,
    Column("ca", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    PrimaryKeyConstraint("serial_number", "ca"),
)

_p = bindparam
_c, _r = upstream_cursors.c, upstream_refusals.c

POSITION = select(_c.sequence).where(_c.ca == _p("of_ca"))
ADD_CURSOR = insert(upstream_cursors)
ADVANCE = (
    update(upstream_cursors)
    .where(_c.ca == _p("of_ca"), _c.sequence == _p("seen"))
    .values(sequence=_p("to"))
)
ADD_REFUSAL = insert(upstream_refusals)
DROP_REFUSAL = delete(upstream_refusals).where(
    _r.ca == _p("of_ca"), _r.serial_number == _p("of_serial")
)
REFUSALS = (
    select(upstream_refusals)
    .order_by(_r.sequence.desc())
    .limit(_p("most"))
    .offset(literal_column("0"))
)

"""The table and the statements of appraisals; conventions as in `tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    bindparam,
    insert,
    literal_column,
    null,
    select,
    text,
    update,
)

from est_server.storage.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

_KEPT = text("evidence_until IS NOT NULL")

appraisals = Table(
    "appraisals",
    metadata,
    Column("id", Text, primary_key=True),
    Column("identity", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("rules", Text, nullable=False),
    Column("policy", Text, nullable=False),
    Column("policy_digest", Text, nullable=False),
    Column("worse", Text, nullable=False),
    Column("evidence", LargeBinary),
    Column("evidence_until", BigInteger),
    Index("ix_appraisals_identity_id", "identity", "id"),
    Index(
        "ix_appraisals_evidence_until",
        "evidence_until",
        sqlite_where=_KEPT,
        postgresql_where=_KEPT,
    ),
)

_p = bindparam
_c = appraisals.c
_NONE: ColumnElement[int] = literal_column("0")
_ONE: ColumnElement[int] = literal_column("1")
_of = _c.identity == _p("who")

ADD_APPRAISAL = insert(appraisals)
LATEST_APPRAISAL = (
    select(appraisals)
    .where(_of, _c.profile == _p("under"))
    .order_by(_c.id.desc())
    .limit(_ONE)
    .offset(_NONE)
)
APPRAISAL_FILTERS = {"who": _of}
APPRAISALS = select(appraisals).order_by(_c.id.desc()).limit(_p("most")).offset(_NONE)
FORGET_EVIDENCE = (
    update(appraisals)
    .where(_c.evidence_until <= _p("now"), _c.evidence_until.is_not(None))
    .values(evidence=null(), evidence_until=null())
)

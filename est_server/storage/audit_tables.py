"""The tables of the audit log; conventions as in `est_server.storage.tables`.

A leaf's `id` is the order in which leaves were written, its `position` the place in the tree.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from est_server.storage.tables import metadata

audit_leaves = Table(
    "audit_leaves",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("position", BigInteger),
    Column("subject", Text, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    UniqueConstraint("position"),
    Index("ix_audit_leaves_subject", "subject"),
    Index(
        "ix_audit_leaves_waiting",
        "id",
        sqlite_where=text("position IS NULL"),
        postgresql_where=text("position IS NULL"),
    ),
)

audit_tiles = Table(
    "audit_tiles",
    metadata,
    Column("level", Integer, nullable=False),
    Column("place", BigInteger, nullable=False),
    Column("hashes", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "place"),
)

audit_checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
)

audit_timestamps = Table(
    "audit_timestamps",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("token", LargeBinary, nullable=False),
)

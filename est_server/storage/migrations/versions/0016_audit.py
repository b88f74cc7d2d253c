"""The audit log; its first leaf says what there was before it."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

from est_server.audit.leaf import encode_leaf
from est_server.audit.verify_rows import beginning

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

TABLES = (
    "decisions", "pending_requests", "requests", "revocation_events", "certificates", "devices",
    "credentials", "device_keys", "rollovers", "profile_texts",
)  # fmt: skip


def upgrade() -> None:
    op.create_table(
        "audit_leaves",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_leaves")),
        sa.UniqueConstraint("position", name=op.f("uq_audit_leaves_position")),
    )
    op.create_index("ix_audit_leaves_subject", "audit_leaves", ["subject"])
    op.create_index(
        "ix_audit_leaves_waiting",
        "audit_leaves",
        ["id"],
        sqlite_where=sa.text("position IS NULL"),
        postgresql_where=sa.text("position IS NULL"),
    )
    op.create_table(
        "audit_tiles",
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "place", name=op.f("pk_audit_tiles")),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_checkpoints")),
    )
    op.create_table(
        "audit_timestamps",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("token", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_audit_timestamps")),
    )
    counts = {}
    for table in TABLES:
        count = op.get_bind().execute(sa.select(sa.func.count()).select_from(sa.table(table)))
        counts[table] = count.scalar_one()
    leaves = sa.table(
        "audit_leaves", sa.column("subject", sa.Text), sa.column("leaf", sa.LargeBinary)
    )
    leaf = encode_leaf(beginning(time.time_ns() // 1000, counts))
    op.bulk_insert(leaves, [{"subject": "log:began", "leaf": leaf}])

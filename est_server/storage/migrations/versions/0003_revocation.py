"""Revocation: events, entries of CRLs, blocked keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("certificates", sa.Column("invalidity_date", sa.BigInteger(), nullable=True))
    op.add_column(
        "certificates",
        sa.Column("crl_shard", sa.Integer(), server_default=sa.text("0"), nullable=False),
    )
    op.create_table(
        "revocation_events",
        sa.Column("sequence", SEQUENCE, autoincrement=False, nullable=False),
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.BigInteger(), nullable=True),
        sa.Column("invalidity_date", sa.BigInteger(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_revocation_events")),
    )
    op.create_index(
        "ix_revocation_events_certificate",
        "revocation_events",
        ["serial_number", "ca", "sequence"],
        unique=False,
    )
    op.create_table(
        "revocation_entries",
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("crl_shard", sa.Integer(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("not_after", sa.BigInteger(), nullable=False),
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint(
            "ca", "crl_shard", "serial_number", name=op.f("pk_revocation_entries")
        ),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_revocation_entries_sequence", "revocation_entries", ["ca", "sequence"], unique=False
    )
    op.create_index(
        "ix_revocation_entries_not_after", "revocation_entries", ["ca", "not_after"], unique=False
    )
    op.create_table(
        "blocked_keys",
        sa.Column("spki_sha256", sa.LargeBinary(), nullable=False),
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.PrimaryKeyConstraint("spki_sha256", name=op.f("pk_blocked_keys")),
    )

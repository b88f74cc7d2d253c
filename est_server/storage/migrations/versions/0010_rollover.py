"""Rollovers of CAs, and who has followed them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_OPEN = "state IN ('prepared', 'published', 'switched')"


def upgrade() -> None:
    op.create_table(
        "rollovers",
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("predecessor", sa.Text(), nullable=False),
        sa.Column("successor", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("prepared_at", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=True),
        sa.Column("switched_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("tls", sa.Text(), nullable=True),
        sa.Column("anonymous_fetches", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("ca", "generation", name=op.f("pk_rollovers")),
        sa.UniqueConstraint("successor", name=op.f("uq_rollovers_successor")),
    )
    op.create_index(
        "uq_rollovers_open",
        "rollovers",
        ["ca"],
        unique=True,
        sqlite_where=sa.text(_OPEN),
        postgresql_where=sa.text(_OPEN),
    )
    op.create_table(
        "cacerts_fetches",
        sa.Column("successor", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("successor", "identity", name=op.f("pk_cacerts_fetches")),
    )
    op.add_column(
        "nodes", sa.Column("rollovers", sa.Text(), server_default=sa.text("''"), nullable=False)
    )

"""Certificates that others replace, and when a certificate was first seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("certificates", sa.Column("seen_at", sa.BigInteger(), nullable=True))
    op.create_table(
        "supersessions",
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("serial_number", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("due_at", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("done_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_supersessions_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("serial_number", "ca", "request_id", name=op.f("pk_supersessions")),
    )
    op.create_index(
        "ix_supersessions_open",
        "supersessions",
        ["due_at"],
        unique=False,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )

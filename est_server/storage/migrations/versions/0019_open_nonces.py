"""Nonces that are open are found without a look at those that were used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_nonces_expires_at_client_used_by", "nonces")
    op.create_index("ix_nonces_expires_at", "nonces", ["expires_at"])
    op.create_index(
        "ix_nonces_open",
        "nonces",
        ["expires_at", "client"],
        sqlite_where=sa.text("used_by IS NULL"),
        postgresql_where=sa.text("used_by IS NULL"),
    )

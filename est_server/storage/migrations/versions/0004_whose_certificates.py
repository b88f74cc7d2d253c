"""Certificates are found by who obtained them, and by their subject."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("identity", "subject"):
        op.create_index(
            f"ix_certificates_{column}",
            "certificates",
            [column, "issued_at", "serial_number"],
            unique=False,
        )

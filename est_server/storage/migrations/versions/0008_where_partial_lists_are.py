"""The URL that the certificates of a partial list name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("crl_scopes", sa.Column("only_at", sa.Text(), nullable=True))

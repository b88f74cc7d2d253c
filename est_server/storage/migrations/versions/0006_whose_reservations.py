"""A reservation says which server process works on it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "requests", sa.Column("node", sa.Text(), server_default=sa.text("''"), nullable=False)
    )

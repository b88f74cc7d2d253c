"""What CAs call the orders that they keep themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("ticket", sa.Text(), nullable=True))
    known = sa.text("ticket IS NOT NULL")
    op.create_index(
        "uq_orders_ticket",
        "orders",
        ["ticket"],
        unique=True,
        sqlite_where=known,
        postgresql_where=known,
    )

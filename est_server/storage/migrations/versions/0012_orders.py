"""What CAs elsewhere were asked for, until the answer is known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("request_id", sa.Text(), nullable=False),
        sa.Column("csr", sa.LargeBinary(), nullable=False),
        sa.Column("names", sa.LargeBinary(), nullable=False),
        sa.Column("match_key", sa.LargeBinary(), nullable=True),
        sa.Column("content", sa.LargeBinary(), nullable=True),
        sa.Column("replaces", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["request_id"], ["requests.id"], name=op.f("fk_orders_request_id_requests")
        ),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_orders")),
    )
    for name, columns in (
        ("ix_orders_match_key_request_id", ["match_key", "request_id"]),
        ("ix_orders_next_at", ["next_at"]),
    ):
        known = sa.text(f"{columns[0]} IS NOT NULL")
        op.create_index(name, "orders", columns, sqlite_where=known, postgresql_where=known)
    # requests that wait at their CA are open too
    op.drop_index("uq_requests_serial_number_ca_open", table_name="requests")
    still_open = sa.text("state IN ('reserved', 'waiting', 'parked')")
    op.create_index(
        "uq_requests_serial_number_ca_open",
        "requests",
        ["serial_number", "ca"],
        unique=True,
        sqlite_where=still_open,
        postgresql_where=still_open,
    )

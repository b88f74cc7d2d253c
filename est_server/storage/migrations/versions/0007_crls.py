"""Numbers and bytes of revocation lists."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "crl_scopes",
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("crl_shard", sa.Integer(), nullable=False),
        sa.Column("last_number", sa.BigInteger(), nullable=False),
        sa.Column("reserved_at", sa.BigInteger(), nullable=True),
        sa.Column("key_identifier", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("ca", "crl_shard", name=op.f("pk_crl_scopes")),
    )
    op.create_table(
        "crls",
        sa.Column("ca", sa.Text(), nullable=False),
        sa.Column("crl_shard", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("base_number", sa.BigInteger(), nullable=True),
        sa.Column("this_update", sa.BigInteger(), nullable=False),
        sa.Column("next_update", sa.BigInteger(), nullable=False),
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("expired_before", sa.BigInteger(), nullable=False),
        sa.Column("listed_up_to", SEQUENCE, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("published_at", sa.BigInteger(), nullable=False),
        sa.Column("der", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("ca", "crl_shard", "number", "kind", name=op.f("pk_crls")),
    )

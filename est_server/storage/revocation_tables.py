"""The ledger's tables about revocation; conventions as in `est_server.storage.tables`.

`revocation_entries` has one row for each certificate that was ever revoked or held: the entry of a
CRL, encoded once. It lies in the order in which a list is read, so that a list of a million
entries is one walk.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
)

from est_server.storage.tables import metadata

# an INTEGER is 64 bits wide in SQLite, and under that name alone its own key of a table
SEQUENCE = BigInteger().with_variant(Integer(), "sqlite")

revocation_events = Table(
    "revocation_events",
    metadata,
    Column("sequence", SEQUENCE, primary_key=True, autoincrement=False),
    Column("ca", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("reason", Text),
    Column("revoked_at", BigInteger),
    Column("invalidity_date", BigInteger),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("note", Text, nullable=False),
    Index("ix_revocation_events_certificate", "serial_number", "ca", "sequence"),
)

revocation_entries = Table(
    "revocation_entries",
    metadata,
    Column("ca", Text, nullable=False),
    Column("crl_shard", Integer, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("sequence", SEQUENCE, nullable=False),
    Column("entry", LargeBinary),  # NULL once it is released
    PrimaryKeyConstraint("ca", "crl_shard", "serial_number"),
    Index("ix_revocation_entries_sequence", "ca", "sequence"),
    Index("ix_revocation_entries_not_after", "ca", "not_after"),
    sqlite_with_rowid=False,
)

blocked_keys = Table(
    "blocked_keys",
    metadata,
    Column("spki_sha256", LargeBinary, primary_key=True),
    Column("sequence", SEQUENCE, nullable=False),
)

crl_scopes = Table(
    "crl_scopes",
    metadata,
    Column("ca", Text, nullable=False),
    Column("crl_shard", Integer, nullable=False),
    Column("last_number", BigInteger, nullable=False),
    Column("reserved_at", BigInteger),
    Column("key_identifier", LargeBinary, nullable=False),
    Column("only_at", Text),
    PrimaryKeyConstraint("ca", "crl_shard"),
)

crls = Table(
    "crls",
    metadata,
    Column("ca", Text, nullable=False),
    Column("crl_shard", Integer, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("base_number", BigInteger),
    Column("this_update", BigInteger, nullable=False),
    Column("next_update", BigInteger, nullable=False),
    Column("sequence", SEQUENCE, nullable=False),
    Column("expired_before", BigInteger, nullable=False),
    Column("listed_up_to", SEQUENCE, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("der", LargeBinary),  # last, so that the rest is read without it; NULL once superseded
    PrimaryKeyConstraint("ca", "crl_shard", "number", "kind"),
)

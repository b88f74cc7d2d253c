"""The ledger's tables, the same for every database.

Times are whole microseconds since 1970 in UTC, since databases disagree about time zones and
precision. Serial numbers are 40 lower-case hexadecimal digits, since no database has an integer of
160 bits. Both compare as their values do.

Every index is paid for by each enrollment, and most by those whose values are random: they touch a
page of their own. So columns that hold the same value nearly always (``good``, ``active``) have
partial indexes on the rest, and what is listed newest first has the order in its index.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    literal_column,
    text,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

devices = Table(
    "devices",
    metadata,
    Column("id", Text, primary_key=True),
    Column("profile", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attributes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index("ix_devices_profile_id", "profile", "id"),
    Index(
        "ix_devices_not_active",
        "state",
        "id",
        sqlite_where=text("state <> 'active'"),
        postgresql_where=text("state <> 'active'"),
    ),
)

credentials = Table(
    "credentials",
    metadata,
    Column("id", Text, primary_key=True),
    Column("username", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("device_id", Text),
    Column("uses_allowed", Integer),
    Column("uses", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Index(
        "uq_credentials_username_live",
        "username",
        unique=True,
        sqlite_where=text("revoked_at IS NULL"),
        postgresql_where=text("revoked_at IS NULL"),
    ),
    Index("ix_credentials_username_id", "username", "id"),
)

decisions = Table(
    "decisions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("request_id", Text),
    Column("at", BigInteger, nullable=False),
    Column("operation", Text, nullable=False),
    Column("label", Text),
    Column("profile", Text, nullable=False),
    Column("profile_digest", Text, nullable=False),
    Column("identity", Text),
    Column("device_id", Text),
    Column("verdict", Text, nullable=False),
    Column("rule", Text),
    Column("message", Text, nullable=False),
    Column("trace", Text, nullable=False),
    Column("csr", LargeBinary, nullable=False),
    Column("ca", Text),
    Column("serial_number", Text),
    Index("ix_decisions_request_id", "request_id"),
    Index("ix_decisions_identity", "identity"),
    Index("ix_decisions_device_id", "device_id"),
)

requests = Table(
    "requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("idempotency_key", LargeBinary, unique=True),
    Column("operation", Text, nullable=False),
    Column("label", Text),
    Column("profile", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("device_id", Text),
    Column("credential_id", Text, ForeignKey("credentials.id")),
    Column("decision_id", Text, ForeignKey("decisions.id"), nullable=False),
    Column("ca", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("spki_sha256", LargeBinary, nullable=False),
    Column("csr", LargeBinary, nullable=False),
    Column("plan", Text, nullable=False),
    Column("reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("node", Text, nullable=False, server_default=text("''")),
    Index(
        "ix_requests_unsettled",
        "created_at",
        sqlite_where=text("state = 'reserved'"),
        postgresql_where=text("state = 'reserved'"),
    ),
    # `certificates` keeps issued serial numbers unique, this those that are under way
    Index(
        "uq_requests_serial_number_ca_open",
        "serial_number",
        "ca",
        unique=True,
        sqlite_where=text("state IN ('reserved', 'waiting', 'parked')"),
        postgresql_where=text("state IN ('reserved', 'waiting', 'parked')"),
    ),
)

certificates = Table(
    "certificates",
    metadata,
    Column("ca", Text, nullable=False),
    Column("serial_number", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("der", LargeBinary),
    Column("spki_sha256", LargeBinary, nullable=False),
    Column("subject", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("device_id", Text),
    Column("request_id", Text, ForeignKey("requests.id"), nullable=False),
    Column("not_before", BigInteger, nullable=False),
    Column("not_after", BigInteger, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    Column("replaces", Text),
    Column("revoked_at", BigInteger),
    Column("revocation_reason", Text),
    Column("invalidity_date", BigInteger),
    Column("crl_shard", Integer, nullable=False, server_default=text("0")),
    Column("seen_at", BigInteger),
    PrimaryKeyConstraint("serial_number", "ca"),  # in this order it also finds a serial of any CA
    UniqueConstraint("request_id"),
    Index("ix_certificates_issued_at_serial_number", "issued_at", "serial_number"),
    Index("ix_certificates_device_id", "device_id", "issued_at", "serial_number"),
    Index("ix_certificates_identity", "identity", "issued_at", "serial_number"),
    Index("ix_certificates_subject", "subject", "issued_at", "serial_number"),
    Index("ix_certificates_profile", "profile", "issued_at", "serial_number"),
    Index("ix_certificates_not_after", "not_after"),
    Index(
        "ix_certificates_not_good",
        "status",
        "issued_at",
        "serial_number",
        sqlite_where=text("status <> 'good'"),
        postgresql_where=text("status <> 'good'"),
    ),
)

PENDING_OPEN: ColumnElement[bool] = literal_column("state IN ('waiting', 'approved', 'issuing')")
"""`est_server.ports.pending.OPEN`; a query says it in these words to use the partial indexes."""

pending_requests = Table(
    "pending_requests",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("match_key", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("operation", Text, nullable=False),
    Column("label", Text),
    Column("profile", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("device_id", Text),
    Column("spki_sha256", LargeBinary, nullable=False),
    Column("csr", LargeBinary, nullable=False),
    Column("decision_id", Text, ForeignKey("decisions.id"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("decided_by", Text),
    Column("decided_at", BigInteger),
    Column("note", Text, nullable=False),
    Column("profile_digest", Text, nullable=False),
    Column("request_id", Text, unique=True),
    Index("ix_pending_requests_match_key_id", "match_key", "id"),
    Index(
        "uq_pending_requests_match_key_open",
        "match_key",
        unique=True,
        sqlite_where=PENDING_OPEN,
        postgresql_where=PENDING_OPEN,
    ),
    Index(
        "ix_pending_requests_open",
        "identity",
        sqlite_where=PENDING_OPEN,
        postgresql_where=PENDING_OPEN,
    ),
)

profile_texts = Table(
    "profile_texts",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("node", Text, primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("config_digest", Text, nullable=False),
    Column("reload_serial", Integer, nullable=False),
    Column("reload_error", Text),
    Column("rollovers", Text, nullable=False, server_default=text("''")),
    Column("roles", Text, nullable=False, server_default=text("''")),
)

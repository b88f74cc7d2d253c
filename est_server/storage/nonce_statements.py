"""The table and the statements of nonces; conventions as in `tables`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    Table,
    Text,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from est_server.storage.tables import metadata

nonces = Table(
    "nonces",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("label", Text, nullable=False),
    Column("session", LargeBinary, nullable=False),
    Column("cookie", LargeBinary, nullable=False),
    Column("client", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("kept", Text, nullable=False),
    Column("used_by", LargeBinary),
    Index("ix_nonces_expires_at", "expires_at"),
)
# what was used is not counted, and is most of what there is
Index(
    "ix_nonces_open",
    nonces.c.expires_at,
    nonces.c.client,
    sqlite_where=nonces.c.used_by.is_(None),
    postgresql_where=nonces.c.used_by.is_(None),
)

_p = bindparam
_this = nonces.c.digest == _p("wanted")
_open = nonces.c.expires_at > _p("now"), nonces.c.used_by.is_(None)

ADD_NONCE = insert(nonces)
NONCE = select(nonces).where(_this)
TAKE_NONCE = update(nonces).where(_this, nonces.c.used_by.is_(None)).values(used_by=_p("used"))
PURGE_NONCES = delete(nonces).where(nonces.c.expires_at <= _p("before"))
OPEN_NONCES = select(
    func.count().label("everybody"),
    func.count().filter(nonces.c.client == _p("asking")).label("client"),
).where(*_open)

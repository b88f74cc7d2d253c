"""The table and the statements of devices' secret keys; conventions as in `tables`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    literal_column,
    select,
)

from est_server.storage.tables import metadata

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

device_keys = Table(
    "device_keys",
    metadata,
    Column("device_id", Text, ForeignKey("devices.id"), nullable=False),
    Column("key_id", LargeBinary, nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("device_id", "key_id"),
)

_p = bindparam
_NONE: ColumnElement[int] = literal_column("0")
_of_device = device_keys.c.device_id == _p("device")
_this = device_keys.c.key_id == _p("named")

ADD_DEVICE_KEY = insert(device_keys)
DEVICE_KEY = select(device_keys).where(_of_device, _this)
REMOVE_DEVICE_KEY = delete(device_keys).where(_of_device, _this)
DEVICE_KEY_FILTERS = {"device": _of_device}
DEVICE_KEYS = (
    select(device_keys)
    .order_by(device_keys.c.created_at, device_keys.c.key_id)
    .limit(_p("most"))
    .offset(_NONE)
)

"""Devices' secret keys in an SQL ledger; see `est_server.ports.device_keys`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Conflict, NotFound
from est_server.ports.device_keys import DeviceKey
from est_server.storage import device_key_statements as sql
from est_server.storage import rows
from est_server.storage.statements import DEVICE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from est_server.ports.device_keys import DeviceKeys
    from est_server.storage.transaction import Found, Reads, Transaction, Writer

_MOST = 100


@dataclass(frozen=True, slots=True)
class SqlDeviceKeys:
    """`DeviceKeys` on the connections of the ledger that it is a part of."""

    _reads: Reads
    _writer: Writer

    async def add(self, key: DeviceKey) -> None:
        row = {
            "device_id": key.device_id,
            "key_id": key.key_id,
            "sealed": key.sealed,
            "created_at": rows.stamp(key.created_at),
        }

        def work(db: Transaction) -> None:
            if db.find(DEVICE, {"device": key.device_id}) is None:
                raise NotFound("device.unknown", f"there is no device {key.device_id}")
            if db.find(sql.DEVICE_KEY, _named(key.device_id, key.key_id)) is not None:
                raise Conflict("device-key.exists", "the device has a key of this name already")
            db.change(sql.ADD_DEVICE_KEY, row)

        await self._writer.run(work)

    async def get(self, device_id: str, key_id: bytes) -> DeviceKey | None:
        row = await self._reads.one(sql.DEVICE_KEY, _named(device_id, key_id))
        return None if row is None else _key(row)

    async def list(self, device_id: str) -> Sequence[DeviceKey]:
        wanted = {"device": device_id}
        found = await self._reads.page(sql.DEVICE_KEYS, sql.DEVICE_KEY_FILTERS, wanted, _MOST)
        return [_key(row) for row in found]

    async def remove(self, device_id: str, key_id: bytes) -> None:
        def work(db: Transaction) -> None:
            if not db.change(sql.REMOVE_DEVICE_KEY, _named(device_id, key_id)):
                raise NotFound("device-key.unknown", "the device has no key of this name")

        await self._writer.run(work)


def _named(device_id: str, key_id: bytes) -> dict[str, str | bytes]:
    return {"device": device_id, "named": key_id}


def _key(row: Found) -> DeviceKey:
    return DeviceKey(
        row["device_id"], bytes(row["key_id"]), bytes(row["sealed"]), rows.time(row["created_at"])
    )


_: Callable[[Reads, Writer], DeviceKeys] = SqlDeviceKeys

"""What every ledger promises about devices' secret keys (est_server.ports.device_keys)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from ledger_world import NOW

from est_server.errors import Conflict, NotFound
from est_server.ports.device_keys import DeviceKey
from est_server.ports.ledger import Device

KEY = DeviceKey("SN-1", b"\x00key\xff", b"sealed", NOW)


@pytest.fixture
async def device(ledger):
    await ledger.add_devices([Device("SN-1", "p", NOW), Device("SN-2", "p", NOW)])


async def test_a_key_comes_back_to_its_device_alone(ledger, device, open_again):
    await ledger.device_keys.add(KEY)
    assert await ledger.device_keys.get("SN-1", KEY.key_id) == KEY
    assert await ledger.device_keys.get("SN-2", KEY.key_id) is None
    assert await ledger.device_keys.get("SN-1", b"key") is None
    other = open_again()
    assert await other.device_keys.get("SN-1", KEY.key_id) == KEY
    await other.close()


async def test_one_device_has_one_key_of_a_name(ledger, device):
    await ledger.device_keys.add(KEY)
    with pytest.raises(Conflict) as refused:
        await ledger.device_keys.add(DeviceKey("SN-1", KEY.key_id, b"other", NOW))
    assert refused.value.rule == "device-key.exists"
    assert await ledger.device_keys.get("SN-1", KEY.key_id) == KEY
    await ledger.device_keys.add(DeviceKey("SN-2", KEY.key_id, b"other", NOW))


async def test_a_device_has_to_be_there(ledger):
    with pytest.raises(NotFound) as refused:
        await ledger.device_keys.add(KEY)
    assert refused.value.rule == "device.unknown"


async def test_keys_are_listed_by_age(ledger, device):
    later = DeviceKey("SN-1", b"a", b"s", NOW + timedelta(microseconds=1))
    for key in (later, KEY, DeviceKey("SN-2", b"b", b"s", NOW)):
        await ledger.device_keys.add(key)
    assert await ledger.device_keys.list("SN-1") == [KEY, later]
    assert await ledger.device_keys.list("SN-3") == []


async def test_a_removed_key_is_gone(ledger, device):
    await ledger.device_keys.add(KEY)
    await ledger.device_keys.remove("SN-1", KEY.key_id)
    assert await ledger.device_keys.get("SN-1", KEY.key_id) is None
    with pytest.raises(NotFound) as refused:
        await ledger.device_keys.remove("SN-1", KEY.key_id)
    assert refused.value.rule == "device-key.unknown"

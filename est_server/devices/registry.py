"""Devices: what makes a valid one, and the states it passes through."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.errors import Malformed, NotFound
from est_server.ports.ledger import Device, DeviceState

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from est_server.ports.ledger import Ledger

LONGEST_ID = 128

# action -> (states it starts from, state it leads to); retired is the end
LIFECYCLE: Mapping[str, tuple[tuple[DeviceState, ...], DeviceState]] = {
    "quarantine": (("active",), "quarantined"),
    "release": (("quarantined",), "active"),
    "retire": (("active", "quarantined"), "retired"),
}


def new_device(
    device_id: str,
    profile: str,
    attributes: Mapping[str, str],
    profiles: Collection[str],
    now: datetime,
) -> Device:
    """Return a device that can be registered.

    Raises:
        Malformed: ``device.id``.
        NotFound: ``profile.unknown``.
    """
    if (
        not 1 <= len(device_id) <= LONGEST_ID
        or not device_id.isprintable()
        or (device_id != device_id.strip())
    ):
        raise Malformed("device.id", f"a device id has 1 to {LONGEST_ID} printable characters")
    if profile not in profiles:
        known = ", ".join(sorted(profiles))
        raise NotFound(
            "profile.unknown", f"there is no profile {profile!r}", hint=f"known: {known}"
        )
    return Device(device_id, profile, now, attributes=dict(attributes))


async def change_state(ledger: Ledger, device_id: str, action: str, now: datetime) -> DeviceState:
    """Do one action of `LIFECYCLE` and return the new state.

    Raises:
        NotFound: ``device.unknown``.
        Conflict: ``device.state``.
    """
    expected, state = LIFECYCLE[action]
    await ledger.set_device_state(device_id, state, expected=expected, at=now)
    return state

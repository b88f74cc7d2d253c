"""The states of a device and the actions that lead from one to another; retired is the end."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from est_server.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from est_server.ports.ledger import DeviceState, Ledger

Action = Literal["quarantine", "release", "retire"]

LIFECYCLE: Mapping[tuple[DeviceState, Action], DeviceState] = MappingProxyType(
    {
        ("active", "quarantine"): "quarantined",
        ("quarantined", "release"): "active",
        ("active", "retire"): "retired",
        ("quarantined", "retire"): "retired",
    }
)
"""What is not here is refused: nobody releases a retired device."""


def next_state(state: DeviceState, action: Action) -> DeviceState:
    """Return where `action` leads from `state`.

    Raises:
        Conflict: ``device.state``; the action does not start from this state.
    """
    found = LIFECYCLE.get((state, action))
    if found is None:
        starts = " or ".join(begin for begin, known in LIFECYCLE if known == action)
        raise Conflict(
            "device.state", f"the device is {state}", hint=f"{action} starts from {starts}"
        )
    return found


async def change_state(
    ledger: Ledger, device_id: str, action: Action, now: datetime
) -> DeviceState:
    """Do `action` to a device and return its new state; it counts for the next request.

    Raises:
        NotFound: ``device.unknown``.
        Conflict: ``device.state``: the action does not start from its state, or someone else
            changed it meanwhile.
    """
    device = await ledger.device(device_id)
    if device is None:
        raise NotFound("device.unknown", f"there is no device {device_id}")
    state = next_state(device.state, action)
    await ledger.set_device_state(device_id, state, expected=(device.state,), at=now)
    return state

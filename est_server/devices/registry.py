"""What may stand in the register of devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.errors import Malformed, NotFound
from est_server.ports.ledger import Device

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

LONGEST_ID = 128
LONGEST_ATTRIBUTE = 1024
MOST_ATTRIBUTES = 64


def new_device(
    device_id: str,
    profile: str,
    attributes: Mapping[str, str],
    profiles: Collection[str],
    now: datetime,
) -> Device:
    """Return a device that can be registered.

    Args:
        device_id: 1 to 128 printable characters without space at either end.
        profile: one of `profiles`.
        attributes: the operator's own words about it; rules and subjects read them.
        profiles: the configuration's profiles, by name.
        now: the time.

    Raises:
        Malformed: ``device.id``, ``device.attribute``.
        NotFound: ``profile.unknown``.
    """
    if (
        not 1 <= len(device_id) <= LONGEST_ID
        or not device_id.isprintable()
        or device_id != device_id.strip()
    ):
        raise Malformed(
            "device.id",
            f"a device id has 1 to {LONGEST_ID} printable characters, no space at its ends",
        )
    if profile not in profiles:
        known = ", ".join(sorted(profiles))
        raise NotFound(
            "profile.unknown", f"there is no profile {profile!r}", hint=f"known: {known}"
        )
    if len(attributes) > MOST_ATTRIBUTES:
        raise Malformed("device.attribute", f"more than {MOST_ATTRIBUTES} attributes")
    for name, value in attributes.items():
        if not name.isidentifier():  # rules say device.site
            raise Malformed("device.attribute", f"{name!r} can't be an attribute's name")
        if len(value) > LONGEST_ATTRIBUTE or not value.isprintable():
            raise Malformed(
                "device.attribute",
                f"{name} has more than {LONGEST_ATTRIBUTE} characters, or unprintable ones",
            )
    return Device(device_id, profile, now, attributes=dict(attributes))

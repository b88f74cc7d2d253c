"""Secret keys that a device and this server both have (RFC 7030 4.4.1.1).

Server-made keys can be encrypted with them. How they got into the device is the operator's
business. They are kept encrypted (`est_server.enrollment.device_keys`) and removed without a trace.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """One key.

    Attributes:
        device_id: whose it is.
        key_id: the DecryptKeyIdentifier that names it; unique for the device.
        sealed: the key, encrypted.
    """

    device_id: str
    key_id: bytes
    sealed: bytes = field(repr=False)
    created_at: datetime


class DeviceKeys(Protocol):
    """The secret keys of devices, a part of the ledger."""

    async def add(self, key: DeviceKey) -> None:
        """Write a key.

        Raises:
            NotFound: ``device.unknown``.
            Conflict: ``device-key.exists`` if the device has one of this name.
        """
        ...

    async def get(self, device_id: str, key_id: bytes) -> DeviceKey | None:
        """Return a device's key of this name."""
        ...

    async def list(self, device_id: str) -> Sequence[DeviceKey]:
        """Return a device's keys, oldest first, at most 100."""
        ...

    async def remove(self, device_id: str, key_id: bytes) -> None:
        """Remove a key for good.

        Raises:
            NotFound: ``device-key.unknown``.
        """
        ...

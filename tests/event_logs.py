"""Event logs as firmware writes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from uuid import UUID

NO_ACTION, SEPARATOR, DRIVER_CONFIG, VERSION = 3, 4, 0x80000001, 8
GLOBAL_VARIABLE = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le


def number(value: int, octets: int = 4) -> bytes:
    return value.to_bytes(octets, "little")


def variable(name: str, data: bytes, vendor: bytes = GLOBAL_VARIABLE) -> bytes:
    """Return UEFI_VARIABLE_DATA."""
    units = name.encode("utf-16-le")
    return vendor + number(len(name), 8) + number(len(data), 8) + units + data


@dataclass(slots=True)
class Log:
    """A log of one bank, SHA-256, and what the registers were extended with."""

    octets: bytes = b""
    extended: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        banks = number(1) + number(0x000B, 2) + number(32, 2)
        spec = b"Spec ID Event03\0" + number(0) + bytes((0, 2, 0, 2)) + banks + b"\0"
        self.octets = number(0) + number(NO_ACTION) + bytes(20) + number(len(spec)) + spec

    def add(self, register: int, kind: int, data: bytes, digest: bytes | None = None) -> Log:
        """Add an event; its digest is that of its data unless another is given."""
        digest = digest or hashlib.sha256(data).digest()
        digests = number(1) + number(0x000B, 2) + digest
        self.octets += number(register) + number(kind) + digests + number(len(data)) + data
        if kind != NO_ACTION:
            self.extended.append((register, digest))
        return self


def booted(*, secure_boot: bytes = b"\x01") -> Log:
    """Return the log of a boot; register 0 and 7 have what they have after it."""
    log = Log().add(0, VERSION, b"firmware 1.4")
    log.add(7, DRIVER_CONFIG, variable("SecureBoot", secure_boot))
    log.add(7, DRIVER_CONFIG, variable("PK", b"platform key"))
    for register in (0, 7):
        log.add(register, SEPARATOR, bytes(4))
    return log

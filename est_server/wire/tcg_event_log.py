"""What firmware measured (TCG PC Client Platform Firmware Profile 1.06, 10): the crypto-agile log.

    first event      pcrIndex u32, eventType u32 = EV_NO_ACTION, 20 octets, eventSize u32, event:
                     "Spec ID Event03" and a zero, platformClass u32,
                     four octets, count u32, that many of {algorithm u16, digest size u16},
                     vendorInfo behind its size u8
    TCG_PCR_EVENT2   pcrIndex u32, eventType u32, count u32, that many of {algorithm u16, digest},
                     eventSize u32, event

Numbers are little-endian. The log itself is not signed: it is worth as much as its replay, which
must give the registers of a quote.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from uuid import UUID

from est_server.errors import Malformed
from est_server.wire.tpm_algorithms import BANKS
from est_server.wire.tpm_buffer import Reader

MOST_OCTETS = 256 * 1024
MOST_EVENTS = 1024
MOST_REGISTER = 23
_MOST_ALGORITHMS = 8
_MOST_DIGEST = 64
_NO_ACTION = 3
_DRIVER_CONFIG = 0x80000001  # EV_EFI_VARIABLE_DRIVER_CONFIG
_SPEC_ID = b"Spec ID Event03\0"
_STARTUP_LOCALITY = b"StartupLocality\0"
_GLOBAL_VARIABLE = UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c").bytes_le  # UEFI 2.10, 3.3
_SECURE_BOOT = "SecureBoot".encode("utf-16-le")
_RULE = "event-log"


@dataclass(frozen=True, slots=True)
class Event:
    """One measurement.

    Attributes:
        register: index of the PCR.
        kind: eventType.
        digests: TPM_ALG_ID -> what the PCR of that bank was extended with.
        data: what was measured, or a text about it.
    """

    register: int
    kind: int
    digests: dict[int, bytes]
    data: bytes = field(repr=False)


def parse_event_log(data: bytes) -> tuple[Event, ...]:
    """Read a log, the first event left out.

    Raises:
        Malformed: ``event-log.too-large``, ``event-log.truncated``, ``event-log.header``,
            ``event-log.events``, ``event-log.register``, ``event-log.digests``.
    """
    reader = Reader(data, _RULE, MOST_OCTETS, "little")
    sizes = _header(reader)
    events: list[Event] = []
    while reader.left:
        if len(events) == MOST_EVENTS:
            raise Malformed("event-log.events", f"more than {MOST_EVENTS} events")
        events.append(_event(reader, sizes))
    return tuple(events)


def replay(events: tuple[Event, ...], bank: int) -> dict[int, bytes]:
    """Return the values that the events leave in the registers of one bank.

    Raises:
        Malformed: ``event-log.digests`` if an event lacks a digest of the bank.
    """
    name = BANKS[bank]
    size = hashlib.new(name).digest_size
    registers: dict[int, bytes] = {}
    for event in events:
        if event.kind == _NO_ACTION:
            if event.register == 0 and event.data.startswith(_STARTUP_LOCALITY):
                # firmware profile 3.3.2: the locality is what PCR 0 begins with
                registers[0] = event.data[16:17].rjust(size, b"\0")
            continue
        digest = event.digests.get(bank)
        if digest is None or len(digest) != size:
            raise Malformed("event-log.digests", f"an event has no {name} digest")
        before = registers.get(event.register, bytes(size))
        registers[event.register] = hashlib.new(name, before + digest).digest()
    return registers


def secure_boot(events: tuple[Event, ...], bank: int) -> bool | None:
    """Tell whether the UEFI variable SecureBoot was measured as on; None if it was not measured.

    Its event's digest is that of the variable's data (firmware profile 10.4.1), so that the text of
    the log can't say more than the register. Whoever adds a second measurement adds nothing: all
    of them count.

    Raises:
        Malformed: ``event-log.variable``.
    """
    found = [_variable(event, bank) for event in events if _is_variable(event)]
    values = [value for value in found if value is not None]
    return all(value == b"\1" for value in values) if values else None


def _is_variable(event: Event) -> bool:
    return event.register == 7 and event.kind == _DRIVER_CONFIG


def _variable(event: Event, bank: int) -> bytes | None:
    """Return the data of UEFI_VARIABLE_DATA if it is SecureBoot."""
    if event.digests.get(bank) != hashlib.new(BANKS[bank], event.data).digest():
        raise Malformed("event-log.variable", "a variable's digest is not that of its data")
    reader = Reader(event.data, "event-log", MOST_OCTETS, "little")
    vendor = reader.take(16)
    name_units, size = reader.number(8), reader.number(8)
    name = reader.take(2 * name_units)
    value = reader.take(size)
    reader.end()
    return value if (vendor, name) == (_GLOBAL_VARIABLE, _SECURE_BOOT) else None


def _header(reader: Reader) -> dict[int, int]:
    """Return the size of each bank's digests."""
    reader.take(4)
    kind = reader.number(4)
    reader.take(20)
    header = Reader(reader.take(reader.number(4)), _RULE, MOST_OCTETS, "little")
    if kind != _NO_ACTION or header.take(len(_SPEC_ID)) != _SPEC_ID:
        raise Malformed("event-log.header", "the log does not begin with Spec ID Event03")
    header.take(8)
    count = header.number(4)
    if count > _MOST_ALGORITHMS:
        raise Malformed("event-log.header", f"more than {_MOST_ALGORITHMS} algorithms")
    sizes = {header.number(2): header.number(2) for _ in range(count)}
    header.take(header.number(1))
    header.end()
    if any(size > _MOST_DIGEST for size in sizes.values()):
        raise Malformed("event-log.header", f"a digest of more than {_MOST_DIGEST} octets")
    return sizes


def _event(reader: Reader, sizes: dict[int, int]) -> Event:
    register, kind, count = (reader.number(4) for _ in range(3))
    if register > MOST_REGISTER:
        raise Malformed("event-log.register", f"there is no register {register}")
    if count > _MOST_ALGORITHMS:
        raise Malformed("event-log.digests", f"more than {_MOST_ALGORITHMS} digests")
    digests = {}
    for _ in range(count):
        algorithm = reader.number(2)
        if algorithm not in sizes:
            raise Malformed("event-log.digests", f"algorithm 0x{algorithm:04x} is not announced")
        digests[algorithm] = reader.take(sizes[algorithm])
    return Event(register, kind, digests, reader.take(reader.number(4)))

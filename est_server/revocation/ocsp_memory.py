"""Signed answers in memory, and until when they may be taken for the truth.

An answer says what the ledger said when it was signed. It is used again only under two conditions:

* the follower (`est_server.revocation.follower`) has read every event up to a moment less than
  `TRUSTED_FOR` ago, on a clock that runs on while this process is stopped, and the time of day
  agrees. Otherwise nothing in memory is believed and the ledger is asked;
* no event about the certificate came between reading its row and keeping the answer: `keep`
  refuses when the follower has moved on since.

So an answer that a revocation made wrong is given for at most `TRUSTED_FOR` after the revocation,
in whatever process it was made.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from est_server.revocation.ocsp_status import Finding
    from est_server.wire.ocsp import CertId

TRUSTED_FOR = 0.7
"""Seconds for which a look at the events is good; a revocation must be everywhere within one."""

MOST_ANSWERS = 50_000
"""Of one CA, each of about 2 KiB."""

_STEP_BACK = 0.1  # seconds by which the time of day may be corrected without doubting it


elapsed: Callable[[], float] = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
"""Seconds on a clock that nobody sets and that runs while the process is stopped."""


@dataclass(slots=True)
class Lease:
    """What the follower has confirmed.

    Attributes:
        sequence: the newest event that was taken in; None before the first look.
        until: `elapsed` time at which trust ends.
        day_from: seconds since 1970 before which the time of day is wrong.
        day_until: likewise, from which on trust ends.
    """

    elapsed: Callable[[], float] = elapsed
    time_of_day: Callable[[], float] = time.time
    sequence: int | None = None
    until: float = float("-inf")
    day_from: float = 0.0
    day_until: float = 0.0

    def confirm(self, sequence: int, at: tuple[float, float]) -> None:
        """Trust what is in memory for a while.

        Args:
            sequence: all events up to this one were taken in.
            at: `elapsed` and the time of day, read before the events were.
        """
        self.sequence = sequence
        self.until = at[0] + TRUSTED_FOR
        self.day_from = at[1] - _STEP_BACK
        self.day_until = at[1] + TRUSTED_FOR

    def trusted(self) -> bool:
        """Tell whether what is in memory may be given to somebody."""
        return self.trusted_at(self.time_of_day())

    def trusted_at(self, day: float) -> bool:
        """Return `trusted` where the time of day was just read."""
        return self.elapsed() < self.until and self.day_from <= day < self.day_until


@dataclass(frozen=True, slots=True, eq=False)
class OcspAnswer:
    """An OCSPResponse and how long it is good.

    Attributes:
        der: the response.
        outcome: good, revoked, unknown, several, or why there is no answer.
        this_update: None for answers that nobody may keep: a nonce is in it, or it is no answer.
        next_update: likewise.
    """

    der: bytes
    outcome: str
    this_update: datetime | None = None
    next_update: datetime | None = None


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one CertID's answer.

    Attributes:
        cert_id: what was asked.
        finding: what the answer says.
        answer: None once an event has made it wrong, or it became too old.
        good_until: seconds since 1970 after which the answer is not given from memory any more.
        refresh_at: seconds since 1970 after which it is signed again.
        asked: whether somebody asked since it was signed.
    """

    cert_id: CertId
    finding: Finding
    answer: OcspAnswer | None
    good_until: float
    refresh_at: float
    asked: bool = False


@dataclass(slots=True)
class AnswerMemory:
    """The answers of one CA, oldest first.

    Attributes:
        lease: shared with the follower.
    """

    lease: Lease
    _slots: dict[bytes, Slot] = field(default_factory=dict)
    _by_serial: dict[int, set[bytes]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, cert_id: CertId) -> Slot | None:
        """Return the slot of exactly this CertID; whether it is still right is for the caller."""
        return self._slots.get(cert_id.der)

    def keep(
        self, cert_id: CertId, finding: Finding, answer: OcspAnswer, read_at: int | None
    ) -> Slot | None:
        """Keep an answer, or don't if events have come since its row was read.

        Args:
            cert_id: what was asked.
            finding: what the answer says.
            answer: signed, with its times.
            read_at: `Lease.sequence` from before the certificate's row was read.
        """
        if read_at is None or read_at != self.lease.sequence:
            return None
        if answer.this_update is None or answer.next_update is None:
            return None
        begin, end = answer.this_update.timestamp(), answer.next_update.timestamp()
        refresh_at, good_until = begin + (end - begin) / 3, begin + (end - begin) / 2
        slot = self._slots.pop(cert_id.der, None)
        if slot is None:
            slot = Slot(cert_id, finding, answer, good_until, refresh_at)
            self._by_serial.setdefault(cert_id.serial_number, set()).add(cert_id.der)
        else:
            slot.finding, slot.answer, slot.asked = finding, answer, False
            slot.good_until, slot.refresh_at = good_until, refresh_at
        self._slots[cert_id.der] = slot
        if len(self._slots) > MOST_ANSWERS:
            self.drop(next(iter(self._slots.values())))
        return slot

    def drop(self, slot: Slot) -> None:
        """Forget one answer, wherever its slot is held."""
        slot.answer = None
        der, serial_number = slot.cert_id.der, slot.cert_id.serial_number
        if self._slots.pop(der, None) is not None:
            known = self._by_serial[serial_number]
            known.discard(der)
            if not known:
                del self._by_serial[serial_number]

    def forget(self, serial_number: int) -> None:
        """Forget every answer about a certificate."""
        for der in tuple(self._by_serial.get(serial_number, ())):
            self.drop(self._slots[der])

    def forget_all(self) -> None:
        """Forget every answer."""
        for slot in tuple(self._slots.values()):
            self.drop(slot)

    def due(self, now: float) -> Iterator[Slot]:
        """Yield answers whose time to be signed again has come, the oldest first.

        Args:
            now: seconds since 1970.
        """
        for slot in tuple(self._slots.values()):
            if slot.refresh_at > now:
                return
            yield slot

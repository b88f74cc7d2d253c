"""What clients of several replicas saw, and whether one server could have done it: pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

WITH_WAKE_UPS = 1.0  # seconds after which nobody may call a revoked certificate good
WITHOUT = 2.0


@dataclass(frozen=True)
class Enrolled:
    """A device was given a certificate, by SHA-256 of its key."""

    key: bytes
    serial: int


@dataclass(frozen=True)
class Refused:
    """A device was told something else."""

    at: float
    replica: int
    status: int
    retry_after: str | None


@dataclass(frozen=True)
class Asked:
    """A relying party asked for a certificate's status."""

    began: float
    replica: int
    serial: int
    status: str


@dataclass(frozen=True)
class Listed:
    """A relying party fetched a list."""

    replica: int
    name: str
    number: int
    digest: bytes


@dataclass
class History:
    """All of it, in one clock.

    Attributes:
        revoked: serial number -> when the order was durable, as who gave it saw.
        away: from when to when there were no wake-ups.
    """

    enrolled: list[Enrolled] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    listed: list[Listed] = field(default_factory=list)
    revoked: dict[int, float] = field(default_factory=dict)
    away: list[tuple[float, float]] = field(default_factory=list)

    def within(self, begin: float, end: float) -> float:
        """Return how long a revocation may take that was given then and asked for then."""
        missed = any(begin < back + WITH_WAKE_UPS and gone < end for gone, back in self.away)
        return WITHOUT if missed else WITH_WAKE_UPS


def faults(history: History, stored: dict[bytes, list[int]]) -> list[str]:
    """Return what must not have been.

    Args:
        history: as clients saw it.
        stored: SHA-256 of keys -> serial numbers of all their certificates, from the ledger.
    """
    return [
        *_certificates(history, stored),
        *_refusals(history),
        *_stale(history),
        *_lists(history),
    ]


def _certificates(history, stored):
    received = defaultdict(set)
    for one in history.enrolled:
        received[one.key].add(one.serial)
    for key, serials in received.items():
        if len(serials) > 1:
            yield f"doubled: {key.hex()[:8]} received {len(serials)} certificates"
        if lost := serials - set(stored.get(key, [])):
            yield f"lost: {sorted(lost)} of {key.hex()[:8]} are not in the ledger"
    for key, serials in stored.items():
        if len(serials) > 1:
            yield f"doubled: the ledger has {len(serials)} certificates of {key.hex()[:8]}"


def _refusals(history):
    for one in history.refused:
        if one.status != 503:
            yield f"refused: replica {one.replica} answered {one.status}"
        elif one.retry_after is None or not one.retry_after.isdigit():
            yield f"refused: replica {one.replica} said 503 without Retry-After"


def _stale(history):
    for one in history.asked:
        durable = history.revoked.get(one.serial)
        if one.status != "GOOD" or durable is None:
            continue
        late = one.began - durable
        if late > history.within(durable, one.began):
            yield f"stale: replica {one.replica} said good of {one.serial:x} {late:.2f} s after"


def _lists(history):
    seen, newest = {}, {}
    for one in history.listed:
        known = seen.setdefault((one.name, one.number), one.digest)
        if known != one.digest:
            yield f"reused: {one.name} {one.number} is two lists"
        before = newest.get((one.replica, one.name), 0)
        if one.number < before:
            yield f"back: replica {one.replica} has {one.name} {one.number} after {before}"
        newest[one.replica, one.name] = max(before, one.number)

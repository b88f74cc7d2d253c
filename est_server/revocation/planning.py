"""Which list is due, and what is in it: pure, without a clock or a ledger.

The rules of a scope:

    base    at the start; every `interval`; again when the clock went back behind it; after every
            revocation too without delta CRLs, or where consumers can't read them
    delta   with every base but the first; after every revocation; at half of its life; when it
            would refer to a base that nobody has yet

A delta refers to the oldest complete list that has not ended, so that whoever kept any list that
is still good can use it. A base and a delta made together share their number (RFC 5280 5.2.3).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from est_server.ports.crl import Extent
from est_server.wire.crl import encode_entry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from est_server.ports.crl import CrlScope, Entry, PublishedCrl

_SECOND = timedelta(seconds=1)
_RESERVED_FOR = timedelta(seconds=10)
"""How long whoever reserved a number is given to publish a list with it."""
_EARLIEST = datetime(1950, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CrlTimes:
    """How often and for how long.

    Attributes:
        lifetime: from thisUpdate to nextUpdate of a complete list.
        interval: from one complete list to the next, shorter than `lifetime`.
        delta_lifetime: from thisUpdate to nextUpdate of a delta; None without deltas.
        keep_expired: how long revoked certificates stay listed beyond their end.
        complete_at_once: whether a revocation makes a complete list due beside the delta.
    """

    lifetime: timedelta
    interval: timedelta
    delta_lifetime: timedelta | None
    keep_expired: timedelta = timedelta(0)
    complete_at_once: bool = False

    @property
    def complete_follows(self) -> bool:
        """Whether complete lists show a revocation as soon as any list does."""
        return self.complete_at_once or self.delta_lifetime is None


@dataclass(frozen=True, slots=True)
class Plan:
    """One number and the lists that get it.

    Attributes:
        base: whether a complete list is due.
        refers_to: the complete list that a delta refers to; None if no delta is due.
        this_update: whole seconds.
        leaves_out: the lists' extent, its `sequence` apart.
    """

    base: bool
    refers_to: PublishedCrl | None
    this_update: datetime
    leaves_out: Extent


def plan(
    scope: CrlScope, times: CrlTimes, now: datetime, *, changed: bool, forced: bool = False
) -> Plan | None:
    """Return what is due, or None.

    Args:
        scope: what is published.
        times: how often.
        now: the time.
        changed: whether a certificate of the scope has an event that no list shows.
        forced: whether a complete list is wanted in any case.
    """
    if somebody_is_at_it(scope, now, _RESERVED_FOR):
        return None
    this_update = now.replace(microsecond=0)
    base, delta = scope.newest("base"), scope.newest("delta")
    if base is None:
        # dated back, so that its first delta can follow at once: at the same time it would have
        # to have the same number (RFC 5280 5.2.3), and a delta's is above its base's (5.2.4)
        this_update -= _SECOND
        return Plan(
            base=True, refers_to=None, this_update=this_update, leaves_out=Extent(0, this_update)
        )
    if this_update in {crl.this_update for crl in (base, delta) if crl is not None}:
        # what is issued at the same time has the same number (RFC 5280 5.2.3), and clients that
        # ask by If-Modified-Since know seconds only
        return None
    deltas = times.delta_lifetime is not None
    if forced or _base_due(base, delta, times, now, changed=changed):
        return Plan(
            base=True,
            refers_to=_oldest(scope, now) if deltas else None,
            this_update=this_update,
            leaves_out=_leaves_out(base, times.keep_expired, now),
        )
    if times.delta_lifetime is None:
        return None
    if changed or delta is None or _delta_due(delta, base, times.delta_lifetime, now):
        return Plan(
            base=False,
            refers_to=_oldest(scope, now),
            this_update=this_update,
            leaves_out=base.extent,
        )
    return None


def extent_of(plan_: Plan, sequence: int) -> Extent:
    """Return what the lists of a plan say when they are made of a snapshot at `sequence`."""
    return replace(plan_.leaves_out, sequence=sequence)


def delta_entries(
    changed: Iterable[Entry], base: Extent, now: Extent, removed_at: datetime
) -> list[bytes]:
    """Return the entries that make `now` of `base`, by serial number.

    They make `now` of every complete list between the two as well: a certificate that left is named
    with removeFromCRL even where `base` does not have it, since a list in between may (RFC 5280
    5.2.4 demands it).

    Args:
        changed: every certificate that may differ.
        base: the complete list that the delta refers to.
        now: the complete list that comes of it.
        removed_at: the date of removeFromCRL.
    """
    found: dict[int, bytes] = {}
    for entry in changed:
        number = entry.serial_number
        since = entry.sequence > base.sequence
        before = not since and base.keeps(entry.not_after, entry.sequence)
        if entry.der is not None and now.keeps(entry.not_after, entry.sequence):
            if not before:
                found[number] = entry.der
        elif since or (before and entry.der is not None):
            found[number] = encode_entry(number, removed_at, "removeFromCRL", None)
    return [found[number] for number in sorted(found)]


def expired_since(extent: Extent, keep_expired: timedelta) -> datetime | None:
    """Return since when ended certificates are all listed, for expiredCertsOnCRL; None if not."""
    if not keep_expired:
        return None
    return max(extent.expired_before, _EARLIEST).replace(microsecond=0) + _SECOND


def somebody_is_at_it(scope: CrlScope, now: datetime, reserved_for: timedelta) -> bool:
    """Tell whether whoever reserved the last number may still publish a list with it."""
    published = max((crl.number for crl in scope.published), default=0)
    if scope.reserved_at is None or scope.last_number <= published:
        return False
    return timedelta(0) <= now - scope.reserved_at < reserved_for


def _base_due(
    base: PublishedCrl, delta: PublishedCrl | None, times: CrlTimes, now: datetime, *, changed: bool
) -> bool:
    if now - base.this_update >= times.interval or now < base.this_update:
        return True
    if changed and times.complete_follows:
        return True
    # deltas have just been given up: nobody may go on with the last of them
    return times.delta_lifetime is None and delta is not None and delta.number >= base.number


def _delta_due(delta: PublishedCrl, base: PublishedCrl, lifetime: timedelta, now: datetime) -> bool:
    return (
        now - delta.this_update >= lifetime / 2
        or now < delta.this_update
        or delta.number < base.number
    )


def _oldest(scope: CrlScope, now: datetime) -> PublishedCrl | None:
    """Return the oldest complete list that somebody may still use, or the newest."""
    bases = [crl for crl in scope.published if crl.kind == "base"]
    return next((crl for crl in bases if crl.next_update > now), bases[-1] if bases else None)


def _leaves_out(base: PublishedCrl, keep_expired: timedelta, now: datetime) -> Extent:
    # a clock that was ahead dropped certificates too early; they come back with the right time
    shown = min(base.this_update, now)
    return Extent(0, max(shown - keep_expired, _EARLIEST), base.extent.sequence)

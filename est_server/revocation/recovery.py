"""What a ledger that was restored learns from outside before anybody asks it.

Lists that were published after the backup, and the exported audit log, say more than the backup
does: numbers that must not come again, and certificates that are revoked by now. What they say is
done again; what can't be done is named.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal, cast, get_args

from est_server.errors import Conflict, NotFound
from est_server.ports.revocation import Release, Revocation, RevocationReason
from est_server.revocation.rules import HOLD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from est_server.ports.crl import CrlScope
    from est_server.ports.ledger import Ledger

REMOVED = "removeFromCRL"
MOST_LISTS_IN_A_SECOND = 2
"""Of one scope: deltas are a second or two apart, and somebody may publish by a command."""
_SETTLED = timedelta(days=1)  # a reservation as old as that is nobody's work
_REASONS = frozenset(get_args(RevocationReason))
Outcome = Literal["done", "known", "missing"]


@dataclass(frozen=True, slots=True)
class Told:
    """That a certificate is revoked, held or released, as somebody outside tells it.

    Attributes:
        ca: name of the CA in server.yaml.
        serial_number: the certificate's.
        reason: of RFC 5280 5.3.1; removeFromCRL where it is released.
        at: the revocationDate, or when it was released.
        invalidity_date: None where there is none.
        source: who tells it, for people.
        actor: who ordered it, where that is known.
        note: as ordered.
    """

    ca: str
    serial_number: int
    reason: str
    at: datetime
    invalidity_date: datetime | None
    source: str
    actor: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Redone:
    """What became of it: done again, known already, or of a certificate that is not there."""

    told: Told
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Raised:
    """A scope whose next list has a number above `floor`."""

    scope: CrlScope
    floor: int


def least_floor(scope: CrlScope, made_at: datetime, now: datetime, seen: int) -> int:
    """Return a number that no list of a scope has reached.

    Args:
        scope: as the backup has it.
        made_at: when the backup was made.
        now: the time.
        seen: the highest number that was found outside; 0 if none was.
    """
    passed = max(0, int((now - made_at).total_seconds()) + 1)
    return max(seen, scope.last_number + passed * MOST_LISTS_IN_A_SECOND)


async def raise_numbers(
    ledger: Ledger, made_at: datetime, now: datetime, seen: Mapping[tuple[str, int], int]
) -> list[Raised]:
    """Let every scope's numbers go on above all that can have been published.

    Args:
        ledger: restored, in nobody's use.
        made_at: when the backup was made.
        now: the time.
        seen: the highest number found outside, by CA and shard.
    """
    found = []
    for scope in await ledger.crls.scopes():
        floor = least_floor(scope, made_at, now, seen.get((scope.ca, scope.shard), 0))
        if floor > scope.last_number:
            floor = await ledger.crls.reserve_number(
                scope.ca, scope.shard, after=scope.last_number, at_least=floor - 1,
                at=now - _SETTLED,
            )  # fmt: skip
        found.append(Raised(scope, floor))
    return found


async def do_again(ledger: Ledger, told: Iterable[Told], now: datetime, actor: str) -> list[Redone]:
    """Revoke and release what others know of; nothing that is known already changes.

    Args:
        ledger: restored, in nobody's use.
        told: in the order in which it happened.
        now: the time.
        actor: who restores.
    """
    return [Redone(one, await _again(ledger, one, now, actor)) for one in told]


async def _again(ledger: Ledger, told: Told, now: datetime, actor: str) -> Outcome:
    who = told.actor or actor
    note = told.note or f"restored: {told.source}"
    record = await ledger.certificate(told.ca, told.serial_number)
    if record is None:
        return "missing"
    try:
        if told.reason == REMOVED:
            if record.status != "held":
                return "known"
            order = Release(told.ca, told.serial_number, told.at, who, note)
            await ledger.revocations.release([order])
            return "done"
        reason = cast("RevocationReason", told.reason if told.reason in _REASONS else "unspecified")
        if record.status == "held" and reason == HOLD:
            return "known"
        await ledger.revocations.revoke(
            [
                Revocation(
                    told.ca, told.serial_number, reason, min(told.at, now), who,
                    told.invalidity_date, note,
                )
            ]
        )  # fmt: skip
    except (Conflict, NotFound):
        return "known"
    return "done"

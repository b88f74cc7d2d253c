"""What a rehearsed restoration has, against the ledger that is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from est_server.app.restoration import Report
    from est_server.ports.ledger import CertificateRecord, Ledger

_PAGE = 1000
_UNDER_WAY = timedelta(seconds=30)
"""How long before the backup an act may have begun that became durable after it."""


@dataclass(slots=True)
class Difference:
    """How two ledgers differ, by serial number in hexadecimal."""

    same: int = 0
    issued_since: list[str] = field(default_factory=list)
    changed_since: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


async def compare(
    live: Ledger, restored: Ledger, made_at: datetime, told: Callable[[str, int], None]
) -> Difference:
    """Walk through both ledgers' certificates, newest first.

    Args:
        live: in use; what happens to it meanwhile counts as happened since.
        restored: the rehearsal's.
        made_at: when the backup was made.
        told: is told how many certificates are the same.
    """
    found, since = Difference(), made_at - _UNDER_WAY
    ours, theirs = _all(live), _all(restored)
    one, other = await anext(ours, None), await anext(theirs, None)
    while one is not None or other is not None:
        if one is not None and (other is None or _place(one) > _place(other)):
            name = f"{one.serial_number:x}"
            (found.issued_since if one.issued_at > since else found.lost).append(name)
            one = await anext(ours, None)
        elif other is not None and (one is None or _place(other) > _place(one)):
            found.invented.append(f"{other.serial_number:x}")
            other = await anext(theirs, None)
        elif one is not None and other is not None:
            if _fixed(one) != _fixed(other):
                found.altered.append(f"{one.serial_number:x}")
            elif (one.status, one.revocation_reason) == (other.status, other.revocation_reason):
                found.same += 1
            elif await _since(live, one, since):
                found.changed_since.append(f"{one.serial_number:x}")
            else:
                found.altered.append(f"{one.serial_number:x}")
            one, other = await anext(ours, None), await anext(theirs, None)
            told("certificates", found.same)
    return found


def tell(found: Difference, report: Report) -> None:
    """Add to a report how the rehearsal differs from the ledger in use."""
    report.add("same", "ok", f"{found.same} certificates are as in the ledger in use")
    if found.issued_since:
        report.add("issued since", "ok", "the backup is older", found.issued_since)
    if found.changed_since:
        detail = "revoked, held or released after the backup, as nothing that was found tells"
        then = "the newest lists (--crl) or the exported log (--audit) tell it"
        report.add("changed since", "attention", detail, found.changed_since, then)
    for what, detail, serials in (
        ("lost", "are in the ledger in use, are older than the backup, and not in it", found.lost),
        ("invented", "are in the backup, and not in the ledger in use", found.invented),
        ("altered", "are not what the ledger in use says", found.altered),
    ):
        if serials:
            report.add(what, "unexplained", detail, serials)


def _fixed(record: CertificateRecord) -> tuple[object, ...]:
    return (
        record.der, record.subject, record.identity, record.profile, record.request_id,
        record.not_after,
    )  # fmt: skip


async def _since(live: Ledger, record: CertificateRecord, since: datetime) -> bool:
    """Tell whether a certificate had an event after the backup, which explains another status."""
    events = await live.revocations.events(serial_number=record.serial_number)
    return any(event.ca == record.ca and event.at > since for event in events)


def _place(record: CertificateRecord) -> tuple[datetime, str]:
    return record.issued_at, f"{record.serial_number:040x}"


async def _all(ledger: Ledger) -> AsyncIterator[CertificateRecord]:
    after = None
    while page := await ledger.certificates(limit=_PAGE, after=after):
        for record in page:
            yield record
        after = (page[-1].issued_at, page[-1].serial_number)

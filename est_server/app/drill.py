"""What a rehearsed restoration has, against the ledger that is in use."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from datetime import datetime

    from est_server.app.restore import Report
    from est_server.ports.ledger import CertificateRecord, Ledger

_PAGE = 1000
_UNDER_WAY = timedelta(seconds=30)
"""How long before the backup an act may have begun that became durable after it."""


@dataclass(slots=True)
class Difference:
    """How two ledgers differ, by serial number in hexadecimal."""

    same: int = 0
    issued_since: list[str] = field(default_factory=list)
    revoked_since: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    altered: list[str] = field(default_factory=list)


async def compare(
    live: Ledger, restored: Ledger, made_at: datetime, seen: Callable[[int], None]
) -> Difference:
    """Walk through both ledgers' certificates, newest first.

    Args:
        live: in use; what happens to it meanwhile counts as happened since.
        restored: the rehearsal's.
        made_at: when the backup was made.
        seen: told how many certificates were compared.
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
            _same(found, one, other, since)
            one, other = await anext(ours, None), await anext(theirs, None)
            seen(1)
    return found


def tell(found: Difference, report: Report) -> None:
    """Add to a report how the rehearsal differs from the ledger in use."""
    report.add("same", "ok", f"{found.same} certificates are as in the ledger in use")
    if found.issued_since:
        report.add("issued since", "ok", "the backup is older", found.issued_since)
    if found.revoked_since:
        report.add(
            "revoked since", "attention", "after the backup, and in no list that was found",
            found.revoked_since, "fetch the newest lists and pass them with --crl",
        )  # fmt: skip
    for what, detail, serials in (
        ("lost", "are in the ledger in use, are older than the backup, and not in it", found.lost),
        ("invented", "are in the backup, and not in the ledger in use", found.invented),
        ("altered", "are not what the ledger in use says", found.altered),
    ):
        if serials:
            report.add(what, "unexplained", detail, serials)


def _same(
    found: Difference, one: CertificateRecord, other: CertificateRecord, since: datetime
) -> None:
    fixed = (one.der, one.subject, one.identity, one.profile, one.request_id, one.not_after)
    if fixed != (
        other.der, other.subject, other.identity, other.profile, other.request_id, other.not_after
    ):  # fmt: skip
        found.altered.append(f"{one.serial_number:x}")
    elif (one.status, one.revocation_reason) == (other.status, other.revocation_reason):
        found.same += 1
    elif one.revoked_at is not None and one.revoked_at > since:
        found.revoked_since.append(f"{one.serial_number:x}")
    else:
        found.altered.append(f"{one.serial_number:x}")


def _place(record: CertificateRecord) -> tuple[datetime, str]:
    return record.issued_at, f"{record.serial_number:040x}"


async def _all(ledger: Ledger) -> AsyncIterator[CertificateRecord]:
    after = None
    while page := await ledger.certificates(limit=_PAGE, after=after):
        for record in page:
            yield record
        after = (page[-1].issued_at, page[-1].serial_number)

"""A restored ledger learns what the world knows beyond its backup."""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from est_server.app.audit import open_signer, verifying_keys
from est_server.app.authorities import Authorities
from est_server.app.clock import system_clock
from est_server.app.outside import list_files, look_outside, read_log
from est_server.audit.exported import covered_leaves
from est_server.ports.crl import COMPACT, COMPLETE, crl_file
from est_server.revocation.recovery import do_again, raise_numbers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from est_server.app.outside import ListOutside, LogOutside, Outside
    from est_server.app.restoration import Report, Restoration
    from est_server.config.configuration import Configuration
    from est_server.errors import BackendUnavailable
    from est_server.ports.audit import AuditReader
    from est_server.ports.ledger import Ledger
    from est_server.revocation.recovery import Raised, Redone, Told

_PAGE = 500
_MANY = 100_000


async def catch_up(wanted: Restoration, ledger: Ledger, report: Report) -> None:
    """Do again what others know of, raise the lists' numbers, and say what stays open.

    Args:
        wanted: with what is there to learn from.
        ledger: restored, in nobody's use.
        report: gets a line for each matter.

    Raises:
        Malformed: ``audit.export``: the exported log can't be believed.
    """
    async with _issuers(wanted.configuration, ledger) as (issuers, broken):
        paths = (*list_files(wanted.configuration), *wanted.lists)
        outside = look_outside(paths, await ledger.crls.scopes(), issuers, wanted.now)
    for name, error in broken.items():
        report.add("ca", "attention", f"{name} can't be opened: {error}", (name,))
    for path, why in outside.useless:
        report.add("list", "attention", f"{path} is of no use: {why}", (str(path),))
    log = None if wanted.log is None else await _log(wanted, wanted.log, ledger)
    await _revocations(wanted, ledger, outside, log, report)
    raised = await raise_numbers(ledger, report.made_at, wanted.now, outside.numbers())
    detail = "the next lists are above all that can be out there"
    report.add("list numbers", "ok", detail, [_raised(one) for one in raised])
    await _left_open(ledger, report, wanted.now)
    _issued(log, report)


@asynccontextmanager
async def _issuers(
    configuration: Configuration, ledger: Ledger
) -> AsyncIterator[tuple[dict[str, x509.Certificate], dict[str, BackendUnavailable]]]:
    cas = Authorities(configuration)
    await cas.connect(tuple(await ledger.rollovers.all()))
    try:
        yield {name: found.issuer for name, found in cas.certificates().items()}, dict(cas.broken)
    finally:
        await cas.close()


async def _log(wanted: Restoration, path: Path, ledger: Ledger) -> LogOutside:
    """Read the exported log from where the backup's ends."""

    def look(reader: AuditReader) -> tuple[int, Counter[bytes]]:
        return reader.size(), Counter(data for _, data in reader.waiting(-1, _MANY))

    start, waiting = await ledger.audit.at_one_moment(look)
    keys = verifying_keys(wanted.configuration, open_signer(wanted.configuration, system_clock))
    with path.open(encoding="utf-8") as lines:
        leaves = covered_leaves(lines, keys, start)
    found = []
    for _, data in leaves:
        if waiting[data]:
            waiting[data] -= 1  # in the backup, without a place
        else:
            found.append(data)
    return read_log(found)


async def _revocations(
    wanted: Restoration, ledger: Ledger, outside: Outside, log: LogOutside | None, report: Report
) -> None:
    lists = outside.since(report.made_at)
    told = [] if log is None else list(log.told)
    told += [one for found in lists for one in found.told()]
    told += await _released(ledger, lists, {one.serial_number for one in told})
    redone = await do_again(ledger, told, wanted.now, wanted.actor)
    sources = [] if log is None else ["the audit log"]
    sources += [f"{one.path.name} (number {one.crl.number})" for one in lists]
    used = ", ".join(sources) or "nobody"
    report.add("revocations", "ok", f"done again, as told by {used}", _serials(redone, "done"))
    if missing := _serials(redone, "missing"):
        report.add(
            "revocations", "attention",
            "of certificates that were issued after the backup; the next lists leave them out",
            missing, "keep the last lists where relying parties find them until these have expired",
        )  # fmt: skip
    blind = {scope.ca for scope in await ledger.crls.scopes()} - {one.ca for one in lists}
    if blind and log is None:
        report.add(
            "revocations", "attention",
            f"what was revoked between {report.made_at:%F %TZ} and now is not known here",
            sorted(blind),
            "fetch the newest lists of these CAs, or the exported log, and restore again",
        )  # fmt: skip


async def _released(ledger: Ledger, lists: Sequence[ListOutside], listed: set[int]) -> list[Told]:
    """Return what is on hold in the backup and on no list any more."""
    complete = {
        one.ca: one for one in lists if one.shard == COMPLETE and one.crl.base_number is None
    }
    found, after = [], None
    while page := await ledger.certificates(status="held", limit=_PAGE, after=after):
        after = (page[-1].issued_at, page[-1].serial_number)
        found += [
            complete[record.ca].released(record.serial_number)
            for record in page
            if record.ca in complete and record.serial_number not in listed
        ]
    return found


def _serials(redone: Sequence[Redone], outcome: str) -> list[str]:
    found = [f"{one.told.serial_number:x}" for one in redone if one.outcome == outcome]
    return list(dict.fromkeys(found))


def _raised(one: Raised) -> str:
    scope = one.scope
    name = crl_file(scope.ca, scope.shard, "compact" if scope.shard == COMPACT else "base")
    return f"{name}: {scope.last_number} -> {one.floor}"


async def _left_open(ledger: Ledger, report: Report, now: datetime) -> None:
    if waiting := [request.id for request in await ledger.unsettled()]:
        report.add(
            "requests", "attention", "were under way; the server asks their CA when it starts",
            waiting, "est-server request list",
        )  # fmt: skip
    spendable, after = [], None
    while page := await ledger.credentials(limit=_PAGE, after=after):
        after = page[-1].id
        spendable += [
            one.username
            for one in page
            if one.uses_allowed is not None
            and one.uses < one.uses_allowed
            and one.revoked_at is None
            and (one.expires_at is None or one.expires_at > now)
        ]
    if spendable:
        report.add(
            "credentials", "attention", "may have been used since, and can be used again",
            spendable, "est-server credential revoke NAME, where that matters",
        )  # fmt: skip


def _issued(log: LogOutside | None, report: Report) -> None:
    then = "OCSP calls them unknown; their devices enroll anew"
    if log is None:
        detail = f"issued after {report.made_at:%F %TZ} are not in it"
        report.add("certificates", "attention", detail, then=then)
        return
    acts = ", ".join(f"{act} {count}" for act, count in sorted(log.acts.items()))
    detail = f"acts after the backup that the audit log tells of: {acts or 'none'}"
    report.add("audit log", "attention" if acts else "ok", detail)
    if log.issued:
        detail = "issued after the backup, and not in it"
        report.add("certificates", "attention", detail, log.issued, then)

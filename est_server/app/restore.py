"""From a backup to a ledger that may be used, and what a person has to know about it.

All is done to a file beside the ledger: what fails, or is only rehearsed, leaves the ledger as it
was. The file takes the ledger's place as a whole, once it knows all that could be learned.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from est_server.app.authorities import Authorities
from est_server.app.outside import list_files, look_outside
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.crl import COMPACT, COMPLETE, crl_file
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.revocation.recovery import do_again, raise_numbers
from est_server.storage.archive import unpack
from est_server.storage.crl_directory import sync_directory
from est_server.storage.sqlite import SqliteLedger
from est_server.storage.sqlite_file import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from cryptography import x509

    from est_server.app.outside import Outside
    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Ledger
    from est_server.revocation.recovery import Raised, Redone, Told
    from est_server.storage.archive import Archive

_PAGE = 500
_MOST_NAMED = 20
Level = Literal["ok", "attention", "unexplained"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a report.

    Attributes:
        what: the matter, in a word or two.
        level: ``attention``: somebody has to act or to know; ``unexplained``: must not be.
        detail: what was found.
        count: how many.
        named: the first of them.
        then: what to do next.
    """

    what: str
    level: Level
    detail: str
    count: int = 0
    named: tuple[str, ...] = ()
    then: str = ""


@dataclass(slots=True)
class Report:
    """What a restoration found and did."""

    made_at: datetime
    lines: list[Line] = field(default_factory=list)

    def add(
        self, what: str, level: Level, detail: str, found: Sequence[str] = (), then: str = ""
    ) -> None:
        """Add a line about `found`."""
        self.lines.append(Line(what, level, detail, len(found), tuple(found[:_MOST_NAMED]), then))

    @property
    def explained(self) -> bool:
        """Whether nothing in it is unexplained."""
        return all(line.level != "unexplained" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Restoration:
    """What is restored, and with the help of what.

    Attributes:
        configuration: of the server whose ledger it is.
        archive: the backup.
        lists: CRLs that were fetched from where they are published, beside those in the
            directories that server.yaml names.
        now: the time.
        actor: who restores.
    """

    configuration: Configuration
    archive: Path
    lists: tuple[Path, ...]
    now: datetime
    actor: str


async def rehearse(wanted: Restoration, scratch: Path) -> Report:
    """Restore into a file of its own, which is left for who wants to look at it."""
    report, about = await _prepare(wanted, scratch)
    _warn_of_the_rest(report, about)
    return report


def restore(wanted: Restoration, ledger: Path, *, replace: bool) -> Report:
    """Restore a ledger that nobody uses.

    Args:
        wanted: what.
        ledger: its file, which may be there, or damaged, or not.
        replace: whether one that is there may be moved aside.

    Raises:
        Conflict: ``restore.running``, ``restore.exists``.
        Malformed: ``backup.file``.
        BackendUnavailable: ``backup.write``, ``ledger.unavailable``, ``ledger.schema``.
    """
    if ledger.exists():
        _require_idle(ledger, wanted.now)
        if not replace:
            raise Conflict(
                "restore.exists", f"there is a ledger at {ledger}",
                hint="--replace moves it aside and keeps it",
            )  # fmt: skip
    fresh = ledger.with_name(f".{ledger.name}.restored")
    report, about = asyncio.run(_prepare(wanted, fresh))
    aside = _take_the_place(fresh, ledger, wanted.now)
    if aside is not None:
        report.add("old ledger", "ok", f"kept as {aside}")
    _warn_of_the_rest(report, about)
    return report


def _require_idle(ledger: Path, now: datetime) -> None:
    alive = int((now - NODE_ALIVE_FOR).timestamp() * 1_000_000)
    try:
        with closing(connect(ledger)) as found:
            rows = found.execute(
                "SELECT pid, host FROM nodes WHERE seen_at > ?", (alive,)
            ).fetchall()
    except sqlite3.Error:
        return  # damaged, or no ledger at all: that is what backups are for
    for pid, host in rows:
        raise Conflict(
            "restore.running", f"a server is using the ledger: process {pid} on {host}",
            hint="stop every server, then restore",
        )  # fmt: skip


async def _prepare(wanted: Restoration, fresh: Path) -> tuple[Report, Archive]:
    about = unpack(wanted.archive, fresh)
    report = Report(about.made_at)
    detail = f"made {about.made_at:%F %TZ} by est-server {about.release} on {about.engine}"
    report.add("backup", "ok", f"{detail}; {sum(about.rows.values())} rows, whole")
    ledger = SqliteLedger(fresh)
    try:
        async with _issuers(wanted.configuration, ledger) as (issuers, broken):
            paths = (*list_files(wanted.configuration), *wanted.lists)
            scopes = await ledger.crls.scopes()
            outside = look_outside(paths, scopes, issuers, wanted.now)
        for name, error in broken.items():
            report.add("ca", "attention", f"{name} can't be opened: {error}", (name,))
        await _catch_up(wanted, ledger, outside, report, about)
        await _left_open(ledger, report, wanted.now)
    finally:
        await ledger.close()
    return report, about


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


async def _catch_up(
    wanted: Restoration, ledger: Ledger, outside: Outside, report: Report, about: Archive
) -> None:
    for path, why in outside.useless:
        report.add("list", "attention", f"{path} is of no use: {why}", (str(path),))
    told = [one for found in outside.lists for one in found.told()]
    told += await _released(ledger, outside, about.made_at, {one.serial_number for one in told})
    redone = await do_again(ledger, told, wanted.now, wanted.actor)
    done = _serials(redone, "done")
    used = ", ".join(f"{one.path.name} (number {one.crl.number})" for one in outside.lists)
    report.add("revocations", "ok", f"done again, as told by {used or 'nobody'}", done)
    if missing := _serials(redone, "missing"):
        report.add(
            "revocations", "attention",
            "of certificates that were issued after the backup; the next lists leave them out",
            missing, "keep the last lists where relying parties find them until these have expired",
        )  # fmt: skip
    newest = {
        ca for one in outside.lists if one.crl.this_update > about.made_at for ca in (one.ca,)
    }
    blind = sorted({scope.ca for scope in await ledger.crls.scopes()} - newest)
    if blind:
        report.add(
            "revocations", "attention",
            f"what was revoked between {about.made_at:%F %TZ} and now is not known here", blind,
            "fetch the newest lists of these CAs and restore again with --crl FILE",
        )  # fmt: skip
    raised = await raise_numbers(ledger, about.made_at, wanted.now, outside.numbers())
    detail = "the next lists are above all that can be out there"
    report.add("list numbers", "ok", detail, [_raised(one) for one in raised])


def _raised(one: Raised) -> str:
    scope = one.scope
    name = crl_file(scope.ca, scope.shard, "compact" if scope.shard == COMPACT else "base")
    return f"{name}: {scope.last_number} -> {one.floor}"


async def _released(
    ledger: Ledger, outside: Outside, made_at: datetime, listed: set[int]
) -> list[Told]:
    """Return what is on hold in the backup and on no list any more."""
    complete = {
        one.ca: one
        for one in outside.lists
        if one.shard == COMPLETE and one.crl.base_number is None and one.crl.this_update > made_at
    }
    found, after = [], None
    while page := await ledger.certificates(status="held", limit=_PAGE, after=after):
        after = (page[-1].issued_at, page[-1].serial_number)
        for record in page:
            if record.ca in complete and record.serial_number not in listed:
                newest = complete[record.ca]
                found.append(newest.released(record.serial_number))
    return found


def _serials(redone: Sequence[Redone], outcome: str) -> list[str]:
    found = [f"{one.told.serial_number:x}" for one in redone if one.outcome == outcome]
    return list(dict.fromkeys(found))


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


def _warn_of_the_rest(report: Report, about: Archive) -> None:
    report.add(
        "certificates", "attention",
        f"issued after {about.made_at:%F %TZ} are not in it: OCSP calls them unknown, and their "
        "devices enroll anew",
    )  # fmt: skip


def _write_back(ledger: Path) -> None:
    """Move what is in the log into the file, where that can be done: one file is moved whole."""
    with suppress(sqlite3.Error), closing(connect(ledger)) as found:
        found.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _take_the_place(fresh: Path, ledger: Path, now: datetime) -> Path | None:
    aside = None
    try:
        if ledger.exists():
            _write_back(ledger)
            aside = ledger.with_name(f"{ledger.name}.before-{now:%Y%m%dT%H%M%SZ}")
            for suffix in ("-wal", "-shm"):
                with suppress(FileNotFoundError):
                    ledger.with_name(ledger.name + suffix).rename(
                        aside.with_name(aside.name + suffix)
                    )
            ledger.rename(aside)
        fresh.rename(ledger)
        sync_directory(ledger.parent)
    except OSError as error:
        raise BackendUnavailable(
            "backup.write", "the restored ledger can't take its place", hint=f"{ledger}: {error}"
        ) from error
    return aside

"""From a backup to a ledger that may be used, and what a person has to know about it.

All is done to a file beside the ledger: what fails, or is only rehearsed, leaves the ledger as it
was. The file takes the ledger's place as a whole, once it knows all that could be learned.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from est_server import __version__
from est_server.app.catching_up import catch_up
from est_server.app.restoration import Report
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.storage.archive import remove, unpack
from est_server.storage.crl_directory import sync_directory
from est_server.storage.schema import schema_status
from est_server.storage.sqlite import SqliteLedger
from est_server.storage.sqlite_file import connect, is_busy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from est_server.app.restoration import Restoration
    from est_server.storage import LedgerPlace
    from est_server.storage.postgres_server import PostgresServer


def restore(wanted: Restoration, place: LedgerPlace, *, replace: bool) -> Report:
    """Restore a ledger that nobody uses.

    Args:
        wanted: what.
        place: of the ledger, which may be there, or damaged, or not.
        replace: whether one that is there may be put aside.

    Raises:
        Conflict: ``restore.running``, ``restore.exists``.
        Malformed: ``backup.file``, ``audit.export``.
        BackendUnavailable: ``backup.write``, ``ledger.unavailable``, ``ledger.schema``.
    """
    if isinstance(place, Path):
        return _restore_file(wanted, place, replace=replace)
    return asyncio.run(_restore_database(wanted, place, replace=replace))


def _restore_file(wanted: Restoration, ledger: Path, *, replace: bool) -> Report:
    if ledger.exists():
        _require_idle(ledger, wanted.now)
        if not replace:
            raise _there_is_one(ledger)
    fresh = ledger.with_name(f".{ledger.name}.restored")
    ledger.parent.mkdir(parents=True, exist_ok=True)  # a new machine
    try:
        report = asyncio.run(prepare(wanted, fresh))
        aside = _take_the_place(fresh, ledger, wanted.now)
    finally:
        remove(fresh)
    if aside is not None:
        report.add("old ledger", "ok", f"kept as {aside}")
    return report


async def _restore_database(
    wanted: Restoration, server: PostgresServer, *, replace: bool
) -> Report:
    from est_server.storage import postgres_archive as database  # noqa: PLC0415 - an extra

    base = wanted.configuration.base
    aside = None
    if schema_status(server).current is not None:
        _require_nobody(await database.running(server, _alive_since(wanted.now)))
        if not await database.is_empty(server):
            if not replace:
                raise _there_is_one(server)
            aside = base / f"ledger.before-{wanted.now:%Y%m%dT%H%M%SZ}.sqlite"
            await database.archive_postgres(server, aside, at=wanted.now, release=__version__)
    fresh = base / ".ledger.restored"
    try:
        report = await prepare(wanted, fresh)
        await database.load_postgres(fresh, server)
    finally:
        remove(fresh)
    if aside is not None:
        report.add("old ledger", "ok", f"kept as {aside}, a backup")
    return report


def _there_is_one(place: LedgerPlace) -> Conflict:
    hint = "--replace puts it aside and keeps it"
    return Conflict("restore.exists", f"there is a ledger at {place}", hint=hint)


def _alive_since(now: datetime) -> int:
    return int((now - NODE_ALIVE_FOR).timestamp() * 1_000_000)


def _require_nobody(found: Sequence[tuple[int, str]]) -> None:
    for pid, host in found:
        raise Conflict(
            "restore.running", f"a server is using the ledger: process {pid} on {host}",
            hint="stop every server, then restore",
        )  # fmt: skip


def _require_idle(ledger: Path, now: datetime) -> None:
    query = "SELECT pid, host FROM nodes WHERE seen_at > ?"
    try:
        with closing(connect(ledger)) as found:
            rows = found.execute(query, (_alive_since(now),)).fetchall()
    except sqlite3.Error as error:
        if is_busy(error):
            hint = "stop every server and command, then restore"
            raise Conflict("restore.running", "the ledger is in use", hint=hint) from error
        return  # damaged, or no ledger at all: that is what backups are for
    _require_nobody([(row["pid"], row["host"]) for row in rows])


async def prepare(wanted: Restoration, fresh: Path) -> Report:
    """Make a ledger of a backup and of what is known beyond it; nobody has it yet.

    Args:
        wanted: what.
        fresh: the ledger's file, SQLite wherever it goes.

    Raises:
        Malformed: ``backup.file``, ``audit.export``.
        BackendUnavailable: ``backup.write``, ``ledger.schema``.
    """
    about = unpack(wanted.archive, fresh)
    report = Report(about.made_at)
    detail = f"made {about.made_at:%F %TZ} by est-server {about.release} on {about.engine}"
    report.add("backup", "ok", f"{detail}; {sum(about.rows.values())} rows, whole")
    ledger = SqliteLedger(fresh, actor=wanted.actor)
    try:
        await catch_up(wanted, ledger, report)
        said = {"backup": about.made_at.isoformat(), "engine": about.engine}
        await ledger.audit.note("restored", said, at=wanted.now)
    finally:
        await ledger.close()
    return report


def _write_back(ledger: Path) -> None:
    """Move what is in the log into the file, where that can be done: one file is moved whole."""
    with suppress(sqlite3.Error), closing(connect(ledger)) as found:
        found.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _take_the_place(fresh: Path, ledger: Path, now: datetime) -> Path | None:
    aside = None
    try:
        _write_back(fresh)
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

"""From a backup to a ledger that may be used, and what a person has to know about it.

All is done to a file beside the ledger: what fails, or is only rehearsed, leaves the ledger as it
was. The file takes the ledger's place as a whole, once it knows all that could be learned.
"""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from est_server.app.catching_up import catch_up
from est_server.app.restoration import Report
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.storage.archive import unpack
from est_server.storage.crl_directory import sync_directory
from est_server.storage.sqlite import SqliteLedger
from est_server.storage.sqlite_file import connect

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from est_server.app.restoration import Restoration


async def rehearse(wanted: Restoration, scratch: Path) -> Report:
    """Restore into a file of its own, which is left for who wants to look at it."""
    return await _prepare(wanted, scratch)


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
    report = asyncio.run(_prepare(wanted, fresh))
    aside = _take_the_place(fresh, ledger, wanted.now)
    if aside is not None:
        report.add("old ledger", "ok", f"kept as {aside}")
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


async def _prepare(wanted: Restoration, fresh: Path) -> Report:
    about = unpack(wanted.archive, fresh)
    report = Report(about.made_at)
    detail = f"made {about.made_at:%F %TZ} by est-server {about.release} on {about.engine}"
    report.add("backup", "ok", f"{detail}; {sum(about.rows.values())} rows, whole")
    ledger = SqliteLedger(fresh)
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

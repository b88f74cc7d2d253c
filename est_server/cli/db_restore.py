"""The commands that copy the ledger and bring it back, and the rehearsal of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption
from est_server.cli.output import iso, show, show_json, show_list
from est_server.cli.progress import counting

if TYPE_CHECKING:
    from est_server.app.restoration import Report, Restoration
    from est_server.config.configuration import Configuration

drills = command_group("Rehearsals of what must work on a bad day: restore.")


@drills.callback()
def _drills() -> None:
    """Keep `restore` a name of its own while it is the only rehearsal."""


Lists = Annotated[
    list[Path] | None,
    typer.Option("--crl", metavar="FILE", help="A list as published, DER; repeatable."),
]
ExportedLog = Annotated[
    Path | None,
    typer.Option("--audit", metavar="FILE", help="Of `audit export`, newer than the backup."),
]
BackupFile = Annotated[Path, typer.Argument(metavar="FILE", help="Of `db backup`.")]


def backup(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="New.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Copy the whole ledger as it is at one moment into a file; servers go on working.

    The file is complete once it has its name, and checked. It holds hashes of passwords, and no key
    of a CA: keep server.yaml, profiles, trust and the secrets beside it. JSON: {"file", "made_at",
    "engine", "schema", "rows"}.

    Example: est-server db backup /backup/ledger-2026-11-24.sqlite
    """
    from est_server import __version__
    from est_server.app.clock import system_clock
    from est_server.storage import ledger_place
    from est_server.storage.archive import archive_sqlite

    configuration = _load(config)
    place = ledger_place(configuration.server.state, configuration.base)
    with counting("copying the ledger"):
        if isinstance(place, Path):
            made = archive_sqlite(place, out, at=system_clock(), release=__version__)
        else:
            from est_server.storage.postgres_archive import archive_postgres

            made = asyncio.run(archive_postgres(place, out, at=system_clock(), release=__version__))
    show(
        output,
        {
            "file": str(out),
            "made_at": iso(made.made_at),
            "engine": made.engine,
            "schema": made.schema,
            "rows": sum(made.rows.values()) if output == "table" else dict(made.rows),
        },
    )


def restore(
    file: BackupFile,
    lists: Lists = None,
    log: ExportedLog = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Move the ledger that is there aside.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Bring the ledger back from a backup, with what published lists know beyond it.

    No server may be running. Revocations since the backup are done again as the exported audit log
    tells them, and lists that are given or in the directories of server.yaml; what is not known is
    named. The numbers of the next lists are above all that can be out there.

    JSON: {"made_at", "explained", "lines": [{"what", "level", "detail", "count", "named",
    "then"}]};
    level is ok, attention or unexplained.

    Example: est-server db restore ledger.sqlite --crl issuing.crl --crl issuing-delta.crl --replace
    """
    from est_server.app.restore import restore as bring_back
    from est_server.storage import ledger_place

    wanted = _wanted(config, file, lists, log)
    place = ledger_place(wanted.configuration.server.state, wanted.configuration.base)
    with counting("restoring"):
        report = bring_back(wanted, place, replace=replace)
    _show(output, report)


@drills.command("restore")
def drill_restore(
    file: BackupFile,
    lists: Lists = None,
    log: ExportedLog = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Restore a backup beside the ledger, compare the two, and print what would have to be done.

    Changes nothing; servers go on working. JSON as of `db restore`; exit code 1 if anything is
    unexplained. Example: est-server drill restore /backup/ledger-2026-11-24.sqlite
    """
    report = asyncio.run(_drill(_wanted(config, file, lists, log)))
    _show(output, report)
    raise typer.Exit(OK if report.explained else REFUSED)


async def _drill(wanted: Restoration) -> Report:
    from tempfile import TemporaryDirectory

    from est_server.app.drill import compare, tell
    from est_server.app.parts import ready_ledger
    from est_server.app.restore import prepare
    from est_server.storage.sqlite import SqliteLedger

    with TemporaryDirectory(prefix="est-server-drill-") as folder, counting("rehearsing") as told:
        scratch = Path(folder) / "ledger.sqlite"
        report = await prepare(wanted, scratch)
        live, restored = ready_ledger(wanted.configuration, migrate=False), SqliteLedger(scratch)
        try:
            tell(await compare(live, restored, report.made_at, told), report)
        finally:
            await restored.close()
            await live.close()
    return report


def _load(config: Path) -> Configuration:
    from est_server.config.configuration import load

    return load(config)


def _wanted(config: Path, file: Path, lists: list[Path] | None, log: Path | None) -> Restoration:
    from est_server.app.clock import system_clock
    from est_server.app.restoration import Restoration
    from est_server.cli.operator import operator

    return Restoration(_load(config), file, tuple(lists or ()), log, system_clock(), operator())


def _show(output: str, report: Report) -> None:
    lines: list[dict[str, Any]] = [
        {
            "what": line.what,
            "level": line.level,
            "detail": line.detail,
            "count": line.count,
            "named": list(line.named),
            "then": line.then,
        }
        for line in report.lines
    ]
    if output == "json":
        made_at = iso(report.made_at)
        show_json({"made_at": made_at, "explained": report.explained, "lines": lines})
        return
    counted = [line | {"count": line["count"] or None} for line in lines]
    show_list(output, counted, ("level", "what", "count", "detail", "named", "then"))

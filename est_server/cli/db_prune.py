"""The command that lets the ledger forget."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, duration, opened
from est_server.cli.output import iso, show
from est_server.cli.progress import counting

if TYPE_CHECKING:
    from est_server.ports.ledger import Ledger
    from est_server.ports.retention import Cutoffs, Forgotten


def prune(
    certificates: Annotated[
        str | None,
        typer.Option(metavar="400d", help="After their end; without it server.yaml's."),
    ] = None,
    decisions: Annotated[
        str | None,
        typer.Option(metavar="400d", help="What issued nothing; without it server.yaml's."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count what would go, change nothing.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Remove what is older than the ledger has to remember; servers go on working.

    `retention` in server.yaml says how long that is; an option may only make it longer. What a list
    in force or an unexpired certificate needs stays, keys that are compromised stay blocked, and
    the audit log says of each row that it was removed. A run that was cut off is started again.

    JSON: {"dry_run", "certificates_before", "decisions_before", "certificates", "requests",
    "decisions", "reviews", "credentials", "lists"}.

    Example: est-server db prune --dry-run
    """
    given = {
        name: None if text is None else duration(text, f"--{name}")
        for name, text in (("certificates", certificates), ("decisions", decisions))
    }

    async def work() -> dict[str, Any]:
        async with opened(config) as (configuration, ledger):
            cutoffs = _cutoffs(configuration.server.retention, given)
            found = await (ledger.retention.count(cutoffs) if dry_run else _all(ledger, cutoffs))
            return {
                "dry_run": dry_run,
                "certificates_before": iso(cutoffs.certificates),
                "decisions_before": iso(cutoffs.decisions),
                **asdict(found),
            }

    show(output, asyncio.run(work()))


def _cutoffs(configured: Any, given: dict[str, Any]) -> Cutoffs:
    from est_server.app.clock import system_clock
    from est_server.errors import Conflict
    from est_server.ports.retention import Cutoffs

    now, found = system_clock(), {}
    for name, span in given.items():
        least = getattr(configured, name)
        if span is not None and (least is None or span < least):
            known = "for ever" if least is None else "longer"
            raise Conflict(
                "retention.shorter",
                f"{name} are to be kept {known}",
                hint=f"say it in server.yaml: retention: {{{name}: …}}",
            )
        kept = span or least
        found[name] = None if kept is None else now - kept
    return Cutoffs(found["certificates"], found["decisions"])


async def _all(ledger: Ledger, cutoffs: Cutoffs) -> Forgotten:
    from est_server.ports.retention import Forgotten

    total = Forgotten()
    with counting("rows") as told:
        while (some := await ledger.retention.forget(cutoffs)).total:
            total += some
            told("rows removed", total.total)
    return total

"""The doctor command."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption
from est_server.cli.output import show_list

app = command_group("Check everything that a server needs.")


@app.command()
def doctor(
    list_: Annotated[
        bool, typer.Option("--list", help="Only list the checks and what they look at.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Check everything that a server needs; what is wrong comes with the next step.

    Exit code 1 if a check fails; a warning is no failure. JSON: [{"check", "status", "detail",
    "next"}] with status ok, warn or fail; with --list [{"check", "looks_at"}].

    Example: est-server doctor -c pki/server.yaml
    """
    from est_server.cli.checks import CHECKS, run_checks

    if list_:
        named = [{"check": name, "looks_at": looks_at} for name, (looks_at, _) in CHECKS.items()]
        show_list(output, named, ("check", "looks_at"))
        return
    found = asyncio.run(run_checks(config))
    show_list(output, found, ("status", "check", "detail", "next"))
    raise typer.Exit(REFUSED if any(check["status"] == "fail" for check in found) else OK)

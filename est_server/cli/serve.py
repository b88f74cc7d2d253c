"""The serve command."""

from __future__ import annotations

from typing import Annotated

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption

app = command_group("Run the server.")
MOST_WORKERS = 256


@app.command()
def serve(
    config: ConfigOption = SERVER_YAML,
    auto_migrate: Annotated[
        bool,
        typer.Option("--auto-migrate", help="Upgrade the ledger first; for a single node only."),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            min=1,
            max=MOST_WORKERS,
            help="Processes that serve, under a supervisor that restarts them; default: this one.",
        ),
    ] = None,
    role: Annotated[
        str | None,
        typer.Option(
            "--role",
            metavar="ROLE[,ROLE…]",
            help="est, validation, admin, publisher; default: all. validation (with admin) has no "
            "CA's key and only reads the ledger.",
        ),
    ] = None,
) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    With --workers, SIGUSR2 puts processes of the code that is on disk now in the place of the old
    ones, and no request is lost.

    Example: est-server serve -c pki/server.yaml --workers 4
    """
    from est_server.app.serving import serve as run_server
    from est_server.config.roles import EVERYTHING, ROLES

    wanted = [one.strip() for one in role.split(",")] if role is not None else [*EVERYTHING]
    roles = frozenset(one for one in ROLES if one in wanted)
    if unknown := {*wanted} - roles:
        text = f"{', '.join(sorted(unknown))}: there are {', '.join(ROLES)}"
        raise typer.BadParameter(text, param_hint="--role")
    if code := run_server(config, migrate=auto_migrate, workers=workers, roles=roles):
        raise typer.Exit(code)

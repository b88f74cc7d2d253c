"""The serve command."""

from __future__ import annotations

from typing import Annotated

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption

app = command_group("Run the server.")


@app.command()
def serve(
    config: ConfigOption = SERVER_YAML,
    auto_migrate: Annotated[
        bool,
        typer.Option("--auto-migrate", help="Upgrade the ledger first; for a single node only."),
    ] = False,
) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Example: est-server serve -c pki/server.yaml
    """
    from est_server.app.server import serve as run_server

    run_server(config, migrate=auto_migrate)

"""The db commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from est_server.cli import db_prune, db_restore
from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption
from est_server.cli.output import show

if TYPE_CHECKING:
    from est_server.storage import LedgerPlace

app = command_group("The ledger: upgrade, status, backup, restore, prune.")
app.command("backup")(db_restore.backup)
app.command("restore")(db_restore.restore)
app.command("prune")(db_prune.prune)


def _place(config: Path) -> LedgerPlace:
    from est_server.config.configuration import load
    from est_server.storage import ledger_place

    configuration = load(config)
    return ledger_place(configuration.server.state, configuration.base)


@app.command()
def upgrade(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Create the ledger, or bring its schema up to this release.

    JSON: {"current", "head"}. Example: est-server db upgrade -c pki/server.yaml
    """
    from est_server.storage.schema import upgrade_schema

    found = upgrade_schema(_place(config))
    show(output, {"current": found.current, "head": found.head})


@app.command()
def status(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Tell whether the ledger's schema fits this release; exit code 1 if not.

    JSON: {"current", "head", "ready"}. Example: est-server db status -o json
    """
    from est_server.storage.schema import schema_status

    found = schema_status(_place(config))
    show(output, {"current": found.current, "head": found.head, "ready": found.ready})
    raise typer.Exit(OK if found.ready else REFUSED)

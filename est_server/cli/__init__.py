"""The command line; every command works on the ledger directly, with or without a running server.

Exit codes: 0 ok, 1 refused or failed check, 2 usage, 3 invalid configuration, 4 remote unavailable.
"""

from __future__ import annotations

import sys

import typer

from est_server.cli import certificates, configuration, credentials, devices, profiles, setup
from est_server.cli.output import fail_on_known_errors

app = typer.Typer(
    name="est-server",
    help="Enrollment authority for connected hardware: RFC 7030 EST in front of any CA.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command()(setup.init)
app.command()(setup.serve)
app.command()(setup.doctor)
app.command()(setup.version)
app.command()(certificates.why)
app.add_typer(configuration.app, name="config")
app.add_typer(configuration.database, name="db")
app.add_typer(profiles.app, name="profile")
app.add_typer(devices.app, name="device")
app.add_typer(credentials.app, name="credential")
app.add_typer(certificates.app, name="cert")


def main() -> None:
    """Run the command line."""
    with fail_on_known_errors():
        app()
    sys.exit(0)

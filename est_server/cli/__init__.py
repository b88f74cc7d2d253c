"""The command line; every command works on the ledger directly, with or without a running server.

A command's module is imported when the command is asked for, and a room of the house when the
command runs, so that ``--help`` costs little more than Python and typer themselves.
"""

from __future__ import annotations

import typer

from est_server.cli.lazy import LazyGroup

app = typer.Typer(
    name="est-server",
    cls=LazyGroup,
    help=(
        "Enrollment authority for connected hardware: RFC 7030 EST in front of any CA.\n\n"
        "Start with: est-server init ./pki --dns localhost --yes\n\n"
        "Exit codes: 0 ok, 1 refused or failed check, 2 usage, 3 invalid configuration,"
        " 4 remote unavailable."
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root() -> None:
    """Stand in for the root, which does nothing by itself."""


def main() -> None:
    """Run the command line and exit with its code."""
    app(prog_name="est-server")

"""The version command."""

from __future__ import annotations

from est_server.cli.lazy import command_group
from est_server.cli.options import OutputOption
from est_server.cli.output import show

app = command_group("Print the version.")


@app.command()
def version(output: OutputOption = "table") -> None:
    """Print the version.

    JSON: {"version"}. Example: est-server version -o json
    """
    from est_server import __version__

    show(output, {"version": __version__})

"""The root of the command tree: names and one-line descriptions; modules load when asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from collections.abc import Mapping

# command -> what it is for; its module is est_server.cli.<command>, with a Typer called `app`
COMMANDS: Mapping[str, str] = {
    "init": "Make a root, an issuing CA, keys, a profile and a server.yaml.",
    "serve": "Run the server.",
    "doctor": "Check everything that a server needs, with the next step.",
    "version": "Print the version.",
    "config": "The configuration: check, schema, show, reload.",
    "profile": "Profiles: list, show, test, lint.",
    "device": "The register: add, import, list, show, quarantine, release, retire, key.",
    "credential": "Enrollment credentials: add, list, revoke.",
    "cert": "Certificates: list, show, export, revoke, release.",
    "crl": "Revocation lists: list, publish, floor, verify, check.",
    "request": "The review queue: list, show, approve, deny.",
    "follow": "Keep a file of revocation lists fresh, for nginx, HAProxy or Envoy.",
    "ocsp": "The status of a certificate, as relying parties are told it: query.",
    "attestation": "Evidence of devices: explain.",
    "why": "Explain a decision, a request, a certificate or a device.",
    "ca": "Certificate authorities: list, show, init, install, rollover, test-sign.",
    "audit": "The audit log: init, verify, prove, export, checkpoint.",
    "db": "The ledger: upgrade, status, backup, restore, prune.",
    "drill": "Rehearsals of what must work on a bad day: restore.",
    "client": "An EST client: cacerts, csrattrs, enroll, reenroll, serverkeygen.",
}


class LazyGroup(TyperGroup):
    """Knows its commands by name, imports the one that is called, and maps what it raises."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # names for suggestions; get_command makes the values

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base's signature
        """Return the command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        return typer.main.get_command(import_module(f"est_server.cli.{cmd_name}").app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base's signature
        """Write the list of commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a failure that is known becomes a message and an exit code."""
        from est_server.cli.exit import report

        try:
            return super().invoke(ctx)
        except Exception as error:
            code = report(error, ctx.meta)
            if code is None:
                raise
            raise typer.Exit(code) from error


def command_group(description: str) -> typer.Typer:
    """Return the Typer of one command, or of one group of commands.

    Args:
        description: what stands above the group's commands; unused for a single command.
    """
    return typer.Typer(
        help=description,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

"""The ca rollover commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, duration, opened
from est_server.cli.rollover_status import SHOWN, followed, show_status, status_of

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.config.configuration import Configuration
    from est_server.ports.secret import Secret
    from est_server.rollover.lifecycle import Action

app = command_group("From an old root to a new one: docs/rollover.md is the runbook.")

NameArgument = Annotated[str, typer.Argument(metavar="CA", help="As in server.yaml.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")]


@app.command()
def status(
    name: NameArgument,
    limit: Annotated[int, typer.Option(min=0, help="Of how many devices that are behind.")] = SHOWN,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Show how far the latest rollover of a CA is, who has followed, and what comes next.

    JSON: {"ca", "state", "generation", "predecessor", "successor", "settings", "prepared_at",
    "published_at", "switched_at", "ended_at", "tls_certificate", "holders", "fetched", "renewed",
    "behind", "anonymous_fetches", "devices_behind": [{"identity", "not_after"}], "servers":
    [{"node", "host", "pid", "follows"}], "next"}.

    Example: est-server ca rollover status issuing
    """

    async def work() -> dict[str, Any]:
        from est_server.errors import NotFound

        async with opened(config) as (configuration, ledger):
            _require_ca(configuration, name)
            found = [one for one in await ledger.rollovers.all() if one.ca == name]
            if not found:
                hint = f"est-server ca rollover prepare {name}"
                raise NotFound("rollover.none", f"CA {name} has had no rollover", hint=hint)
            return await status_of(ledger, found[-1], limit)

    show_status(output, asyncio.run(work()))


@app.command()
def prepare(
    name: NameArgument,
    root_key: Annotated[
        str | None,
        typer.Option(
            metavar="REF",
            help="Old root's key, file:PATH or pkcs11:…; default: beside its PEM, or in the token.",
        ),
    ] = None,
    root_passphrase: Annotated[
        str | None,
        typer.Option(metavar="REF", help="Of that key; default: that of the issuing CA."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="ALGORITHM", help="Default: that of the old root.")
    ] = None,
    root_lifetime: Annotated[str, typer.Option(metavar="SPAN")] = "20y",
    issuing_lifetime: Annotated[str, typer.Option(metavar="SPAN")] = "10y",
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a new root and issuing CA, and the cross certificates. Nobody sees them yet.

    JSON: as status. Example: est-server ca rollover prepare issuing
    """
    from est_server.app.rollover import Wanted
    from est_server.app.rollover import prepare as make
    from est_server.pki.keys import KEY_ALGORITHMS

    if key is not None and key not in KEY_ALGORITHMS:
        raise typer.BadParameter(f"known: {', '.join(KEY_ALGORITHMS)}", param_hint="--key")
    wanted = Wanted(
        root_key,
        _secret(root_passphrase, "--root-passphrase"),
        key,
        duration(root_lifetime, "--root-lifetime"),
        duration(issuing_lifetime, "--issuing-lifetime"),
    )
    _confirm(f"Make a new root and issuing CA to follow CA {name}?", yes=yes or dry_run)

    async def work() -> dict[str, Any]:
        async with opened(config) as (configuration, ledger):
            _require_ca(configuration, name)
            made = await make(configuration, ledger, name, wanted, dry_run=dry_run)
            return await status_of(ledger, made, SHOWN)

    show_status(output, asyncio.run(work()), dry_run=dry_run)


@app.command()
def publish(
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Put the new root, the new issuing CA and the cross certificates into /cacerts.

    JSON: as status. Example: est-server ca rollover publish issuing
    """
    question = f"Publish the new root of CA {name}?"
    _step(config, output, name, "publish", question, dry_run=dry_run, yes=yes)


@app.command()
def switch(
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Let the new issuing CA issue, the server's own TLS certificate too if the old one did.

    JSON: as status. Example: est-server ca rollover switch issuing
    """
    question = f"Issue from the new hierarchy of CA {name} from now on?"
    _step(config, output, name, "switch", question, dry_run=dry_run, yes=yes)


@app.command()
def back(
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Let the old issuing CA issue again; both roots stay published.

    JSON: as status. Example: est-server ca rollover back issuing
    """
    question = f"Issue from the old hierarchy of CA {name} again?"
    _step(config, output, name, "back", question, dry_run=dry_run, yes=yes)


@app.command()
def abort(
    name: NameArgument,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """End a rollover that has issued nothing; its root is published no more.

    JSON: as status. Example: est-server ca rollover abort issuing
    """
    question = f"End the rollover of CA {name}? Its new keys are of no use after that."
    _step(config, output, name, "abort", question, dry_run=dry_run, yes=yes)


@app.command()
def retire(
    name: NameArgument,
    cut_off: Annotated[
        int, typer.Option(min=0, help="How many devices you accept to cut off; see status.")
    ] = 0,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Publish the old root no more. Devices that know nothing else are cut off.

    Refused, exit code 1, while more devices are behind than --cut-off says. JSON: as status.

    Example: est-server ca rollover retire issuing
    """
    question = f"Retire the old root of CA {name}? There is no way back."
    _step(config, output, name, "retire", question, dry_run=dry_run, yes=yes, cut_off=cut_off)


def _step(
    config: Path,
    output: str,
    name: str,
    action: Action,
    question: str,
    *,
    dry_run: bool,
    yes: bool,
    cut_off: int | None = None,
) -> None:
    async def before() -> dict[str, Any]:
        from est_server.app.rollover import open_rollover, step

        async with opened(config) as (configuration, ledger):
            _require_ca(configuration, name)
            rollover = await open_rollover(ledger, name)
            await step(configuration, ledger, rollover, action, dry_run=True)
            return await status_of(ledger, rollover, SHOWN)

    found = asyncio.run(before())
    if cut_off is not None and found["behind"] > cut_off:
        show_status(output, found, dry_run=True)
        text = (
            f"{found['behind']} devices have not fetched the new root and would be cut off: wait, "
            f"or say so with --cut-off {found['behind']}"
        )
        typer.echo(f"error: rollover.behind: {text}", err=True)
        raise typer.Exit(REFUSED)
    if dry_run:
        show_status(output, found, dry_run=True)
        return
    if not yes and output != "json":
        show_status(output, found)
    _confirm(question, yes=yes)

    async def work() -> dict[str, Any]:
        from est_server.app.rollover import open_rollover, step

        async with opened(config) as (configuration, ledger):
            rollover = await open_rollover(ledger, name)
            to = await step(configuration, ledger, rollover, action, dry_run=False)
            await followed(ledger, f"{rollover.successor}:{to}")
            (latest,) = (
                one for one in await ledger.rollovers.all() if one.successor == rollover.successor
            )
            return await status_of(ledger, latest, SHOWN)

    show_status(output, asyncio.run(work()))


def _require_ca(configuration: Configuration, name: str) -> None:
    from est_server.errors import NotFound

    if name not in configuration.ca_settings:
        hint = f"known: {', '.join(configuration.ca_settings)}"
        raise NotFound("ca.unknown", f"there is no CA {name!r}", hint=hint)


def _secret(text: str | None, option: str) -> Secret | None:
    from est_server.ports.secret import Secret

    if text is None:
        return None
    try:
        return Secret.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _confirm(question: str, *, yes: bool) -> None:
    if not yes:
        typer.confirm(question, abort=True)

"""The audit commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli import audit_export, audit_prove, audit_verify
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show, show_json

if TYPE_CHECKING:
    from pathlib import Path

app = command_group("The audit log: init, verify, prove, export, checkpoint.")
app.command("verify")(audit_verify.verify)
app.command("prove")(audit_prove.prove)
app.command("export")(audit_export.export)


@app.command()
def init(
    origin: Annotated[
        str, typer.Option(help="The log's name in its checkpoints.")
    ] = "est-server/audit",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a signing key for the audit log beside server.yaml, and print what to add there.

    `est-server init` did this already; it is for ledgers from before. JSON: {"files", "section"}.

    Example: est-server audit init --origin est.example.net/audit
    """
    from est_server.cli.audit_key import SECTION, make_audit_key

    files = make_audit_key(config.parent)
    section = SECTION.format(origin=origin)
    if output == "json":
        show_json({"files": [str(file) for file in files], "section": section})
        return
    for file in files:
        print(f"created  {file}")
    print(f"add to {config}, then restart the server:\n\n{section}")


@app.command()
def checkpoint(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Sign what the log is now, and print the checkpoint: a signed note, for keeping elsewhere.

    JSON: {"origin", "size", "root", "time", "previous", "key", "note"}; "key" is the verifier key
    that tools for transparency logs take.

    Example: est-server audit checkpoint > /mnt/elsewhere/est.checkpoint
    """
    found = asyncio.run(_checkpoint(config))
    if output == "json":
        show(output, found)
    else:
        print(found["note"], end="")


async def _checkpoint(config: Path) -> dict[str, Any]:
    from est_server.app.audit import extend, open_signer
    from est_server.app.clock import system_clock
    from est_server.audit.checkpoint import read_note, verifier_key
    from est_server.errors import NotFound

    async with opened(config) as (configuration, ledger):
        signer = open_signer(configuration, system_clock)
        await extend(ledger.audit, signer)
        note = (await ledger.audit.state()).newest
        if note is None or signer is None:
            text = "nobody signs the audit log"
            raise NotFound("audit.unsigned", text, hint="est-server audit init makes a key")
        found = read_note(note)
        return {
            "origin": found.origin,
            "size": found.size,
            "root": found.root.hex(),
            "time": iso(found.at),
            "previous": found.previous.hex(),
            "key": verifier_key(found.origin, signer.key.public_key()),
            "note": note,
        }

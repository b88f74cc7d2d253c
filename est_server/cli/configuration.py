"""config and db."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from est_server.cli.output import (
    REFUSED,
    SERVER_YAML,
    UNAVAILABLE,
    ConfigOption,
    OutputOption,
    opened,
    run,
    show,
    show_problems,
)

app = typer.Typer(help="The configuration: check, schema, show, reload.", no_args_is_help=True)
database = typer.Typer(help="The ledger's schema: upgrade, status.", no_args_is_help=True)


@app.command()
def check(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Check server.yaml, every profile and every trust file: est-server config check."""
    from est_server.config.configuration import load
    from est_server.config.problems import as_dict

    configuration = load(config)
    if configuration.warnings and output == "table":
        show_problems(configuration.warnings)
    value = {
        "digest": configuration.digest,
        "profiles": sorted(configuration.profiles),
        "warnings": [as_dict(problem) for problem in configuration.warnings],
    }
    show(
        output,
        value,
        [("ok", configuration.digest[:12], ", ".join(sorted(configuration.profiles)))],
    )


@app.command()
def schema(
    kind: Annotated[Literal["server", "profile"], typer.Argument()] = "profile",
) -> None:
    """Print the JSON Schema for editors: est-server config schema profile."""
    from est_server.config.server import ServerModel
    from est_server.profiles.model import ProfileModel

    model: Any = ServerModel if kind == "server" else ProfileModel
    print(json.dumps(model.model_json_schema(by_alias=True), indent=2))


@app.command("show")
def show_(config: ConfigOption = SERVER_YAML) -> None:
    """Print the effective server.yaml with every default, as JSON."""
    from est_server.config.configuration import load

    print(load(config).server.model_dump_json(indent=2, by_alias=True, fallback=str))


@app.command()
def reload(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Make running servers on this host read the configuration again.

    The configuration is checked first; a server that can't use it keeps the old one and says why.
    """

    async def work() -> list[dict[str, Any]]:
        from est_server.app import system_clock

        async with opened(config) as (_, ledger):
            host = socket.gethostname()
            recent = system_clock() - timedelta(seconds=60)
            before = {
                node.node: node
                for node in await ledger.nodes()
                if node.host == host and node.seen_at > recent
            }
            for node in before.values():
                os.kill(node.pid, signal.SIGHUP)
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                after = {node.node: node for node in await ledger.nodes()}
                if all(
                    name in after and after[name].reload_serial > node.reload_serial
                    for name, node in before.items()
                ):
                    break
                time.sleep(0.1)  # noqa: ASYNC251 - nothing else runs in this command
            return [
                {
                    "node": name,
                    "pid": node.pid,
                    "config": after[name].config_digest if name in after else None,
                    "error": after[name].reload_error if name in after else "ended",
                }
                for name, node in before.items()
            ]

    found = run(work())
    if not found:
        print("error: no server runs on this host with this ledger", file=sys.stderr)
        raise typer.Exit(UNAVAILABLE)
    rows = [(f"pid {n['pid']}", n["error"] or f"ok {str(n['config'])[:12]}") for n in found]
    show(output, found, rows)
    raise typer.Exit(REFUSED if any(node["error"] for node in found) else 0)


def _ledger_path(config: Path) -> Path:
    from est_server.config.configuration import load
    from est_server.storage import sqlite_path

    configuration = load(config)
    return sqlite_path(configuration.server.state.ledger, configuration.base)


@database.command()
def upgrade(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Create or upgrade the ledger's schema: est-server db upgrade -c pki/server.yaml."""
    from est_server.storage.schema import upgrade_schema

    found = upgrade_schema(_ledger_path(config))
    show(output, {"current": found.current, "head": found.head})


@database.command()
def status(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Tell whether the ledger's schema fits this release."""
    from est_server.storage.schema import schema_status

    found = schema_status(_ledger_path(config))
    show(output, {"current": found.current, "head": found.head, "ready": found.ready})
    raise typer.Exit(0 if found.ready else REFUSED)

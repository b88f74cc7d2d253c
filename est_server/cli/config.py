"""The config commands."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show_json, show_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from importlib.metadata import EntryPoint

T = TypeVar("T")

app = command_group("The configuration: check, schema, show, reload.")


@app.command()
def check(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILES]", help="server.yaml files; without any, that of -c."),
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Check server.yaml, every profile and every trust file that it names.

    All problems are told in one run, with file, line and column; exit code 3 if there are errors.
    JSON: [{"file", "digest", "profiles", "warnings"}].

    Example: est-server config check staging/server.yaml production/server.yaml
    """
    from est_server.cli.exit import show_problems
    from est_server.config.configuration import load
    from est_server.config.problems import as_dict
    from est_server.errors import ConfigurationError, Problem

    found: list[dict[str, Any]] = []
    warnings: list[Problem] = []
    problems: list[Problem] = []
    for file in files or [config]:
        try:
            configuration = load(file)
        except ConfigurationError as error:
            problems += error.problems
            continue
        warnings += configuration.warnings
        found.append(
            {
                "file": str(file),
                "digest": configuration.digest,
                "profiles": sorted(configuration.profiles),
                "warnings": [as_dict(problem) for problem in configuration.warnings],
            }
        )
    if problems:
        raise ConfigurationError((*problems, *warnings))
    if warnings and output == "table":
        show_problems(warnings)
    show_list(output, found, ("file", "digest", "profiles"))


@app.command()
def schema(
    kind: Annotated[Literal["server", "profile", "policy"], typer.Argument(help="Of which file.")],
) -> None:
    """Print the JSON Schema that editors check a file with.

    Example: est-server config schema profile > profiles/profile.schema.json
    """
    from est_server.config.backends import VERIFIERS, find_backend, find_verifier, installed
    from est_server.config.schema import (
        policy_schema,
        profile_schema,
        schema_text,
        server_schema,
    )

    if kind == "profile":
        print(schema_text(profile_schema()), end="")
        return
    backends = _loadable(find_backend, installed())
    verifiers = _loadable(find_verifier, installed(VERIFIERS))
    found = (
        policy_schema({name: one.policy_model for name, one in verifiers.items()})
        if kind == "policy"
        else server_schema(
            {name: one.settings_model for name, one in backends.items()},
            {name: one.settings_model for name, one in verifiers.items()},
        )
    )
    print(schema_text(found), end="")


def _loadable(
    find: Callable[[str, Iterable[EntryPoint]], T], points: tuple[EntryPoint, ...]
) -> dict[str, T]:
    """Return what is installed by name; what can't be loaded here can't be configured here."""
    from est_server.config.backends import BackendUnusableError

    found = {}
    for point in points:
        with suppress(BackendUnusableError):
            found[point.name] = find(point.name, points)
    return found


@app.command("show")
def show_(
    config: ConfigOption = SERVER_YAML,
    effective: Annotated[
        bool, typer.Option("--effective", help="With every default that the file leaves out.")
    ] = False,
    output: OutputOption = "table",
) -> None:
    """Print server.yaml once it is checked; JSON is always the effective configuration.

    Example: est-server config show --effective
    """
    from est_server.cli.effective import as_yaml
    from est_server.cli.effective import effective as with_defaults
    from est_server.config.configuration import load

    configuration = load(config)
    if output == "json":
        show_json(with_defaults(configuration.server))
    elif effective:
        print(as_yaml(with_defaults(configuration.server)), end="")
    else:
        print(configuration.document.text, end="")


@app.command()
def reload(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Make the servers on this host read the configuration again.

    It is checked here first. A server that can't use it keeps the one it has and says why: exit
    code 1. Exit code 4 if no server runs. JSON: [{"node", "pid", "config", "error"}].

    Example: est-server config reload -c pki/server.yaml
    """
    from est_server.cli.nodes import reload_nodes
    from est_server.errors import BackendUnavailable

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            return await reload_nodes(ledger)

    found = asyncio.run(work())
    if not found:
        raise BackendUnavailable(
            "server.none",
            "no server runs on this host with this ledger",
            hint=f"start one: est-server serve -c {config}",
        )
    if output == "json":
        show_json(found)
    else:
        rows = [
            {**node, "result": node["error"] or f"ok {(node['config'] or '')[:12]}"}
            for node in found
        ]
        show_list(output, rows, ("node", "pid", "result"))
    raise typer.Exit(REFUSED if any(node["error"] for node in found) else OK)

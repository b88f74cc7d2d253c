"""The profile commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, moment, pairs
from est_server.cli.output import show_json, show_list

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration

app = command_group("Profiles: who may get what, and why.")

NameArgument = Annotated[str, typer.Argument(metavar="PROFILE", help="The file's name, no .yaml.")]


def _load(config: Path, name: str | None) -> Configuration:
    """Return the configuration, which has the profile `name`, if that is given.

    Raises:
        NotFound: ``profile.unknown``.
    """
    from est_server.config.configuration import load
    from est_server.errors import NotFound

    configuration = load(config)
    if name is not None and name not in configuration.profiles:
        hint = f"known: {', '.join(sorted(configuration.profiles))}"
        raise NotFound("profile.unknown", f"there is no profile {name!r}", hint=hint)
    return configuration


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List the profiles with their labels.

    JSON: [{"name", "labels", "ca", "registration", "description"}]. Label "default" is the URL
    without a label.

    Example: est-server profile list
    """
    found = [
        {
            "name": name,
            "labels": list(profile.model.labels),
            "ca": profile.model.ca,
            "registration": profile.model.registration,
            "description": profile.model.description,
        }
        for name, profile in _load(config, None).profiles.items()
    ]
    show_list(output, found, ("name", "labels", "ca", "registration", "description"))


@app.command("show")
def show_(
    name: NameArgument,
    effective: Annotated[
        bool, typer.Option("--effective", help="With every default that the file leaves out.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Print a profile once it is checked; JSON is always the effective profile.

    Example: est-server profile show device --effective
    """
    from est_server.cli.effective import as_yaml
    from est_server.cli.effective import effective as with_defaults

    found = _load(config, name).profiles[name]
    if output == "json":
        show_json(with_defaults(found.model))
    elif effective:
        print(as_yaml(with_defaults(found.model)), end="")
    else:
        print(found.text, end="")


@app.command()
def lint(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[PROFILE]...", help="Without any, all.")
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Tell what is allowed but worth a second look; exit code 1 if there is anything.

    JSON: [{"file", "line", "column", "severity", "code", "message", "hint"}].

    Example: est-server profile lint device router
    """
    from est_server.cli.exit import show_problems
    from est_server.config.problems import as_dict

    wanted: list[str | None] = [*names] if names else [None]
    for name in wanted:
        configuration = _load(config, name)
    files = {configuration.profiles[name].document.file for name in names or configuration.profiles}
    found = [problem for problem in configuration.warnings if problem.position.file in files]
    if output == "json":
        show_json([as_dict(problem) for problem in found])
    elif found:
        show_problems(found)
    raise typer.Exit(REFUSED if found else OK)


@app.command("test")
def ask(
    name: NameArgument,
    csr: Annotated[Path, typer.Option(metavar="FILE", help="PKCS #10: PEM, DER or base64.")],
    client_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Ask with this certificate: PEM chain, leaf first."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="ID", help="Ask as this device, as if by a credential.")
    ] = None,
    device_attributes: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Suppose that the device is there, with these."),
    ] = None,
    username: Annotated[
        str | None, typer.Option(help="Ask with this user name's credential.")
    ] = None,
    operation: Annotated[
        Literal["simpleenroll", "simplereenroll"], typer.Option(help="What is asked for.")
    ] = "simpleenroll",
    channel_binding: Annotated[
        Literal["absent", "matched", "mismatched", "unavailable"],
        typer.Option(help="What to suppose of the link between CSR and TLS connection."),
    ] = "absent",
    otp: Annotated[
        Literal["absent", "matched", "mismatched"],
        typer.Option(help="What to suppose of a one-time password in the CSR."),
    ] = "absent",
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Decide for this time; ISO 8601, UTC.")
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Decide about a request as production would, without issuing anything.

    Without --client-cert, --device and --username nobody asks: every gate is shown, and the first
    refuses. Exit code 0 if it is allowed, 1 if not. JSON: {"verdict", "rule", "message", "profile",
    "profile_digest", "identity", "at", "gates": [{"rule", "ok", "detail", "at"}], "plan"}; the
    plan is the certificate that would follow.

    Example: est-server profile test device --csr device.csr --device SN-0001
    """
    from est_server.cli.gates import show_gates, show_plan, show_verdict
    from est_server.cli.profile_test import Question, answer

    if sum(given is not None for given in (client_cert, device, username)) > 1:
        raise typer.BadParameter("give one of --client-cert, --device and --username")
    question = Question(
        profile=name,
        csr=csr,
        client_certificate=client_cert,
        device=device,
        attributes=None
        if device_attributes is None
        else pairs(device_attributes, "--device-attributes"),
        username=username,
        operation=operation,
        channel_binding=channel_binding,
        otp=otp,
        at=None if at is None else moment(at, "--at"),
    )
    found: dict[str, Any] = asyncio.run(answer(question, config))
    if output == "json":
        show_json(found)
    else:
        print(f"{operation} by {found['identity'] or 'nobody known'} at {found['at']}")
        print(f"  profile {found['profile']}@{found['profile_digest'][:12]}")
        show_gates(found["gates"])
        show_verdict(found["verdict"], found["rule"], found["message"])
        show_plan(found["plan"])
    raise typer.Exit(OK if found["verdict"] == "allow" else REFUSED)

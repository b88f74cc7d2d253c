"""The device commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.device_key import app as key_app
from est_server.cli.lazy import command_group
from est_server.cli.options import (
    SERVER_YAML,
    ConfigOption,
    OutputOption,
    duration,
    opened,
    pairs,
)
from est_server.cli.output import iso, show, show_list

if TYPE_CHECKING:
    from est_server.devices.lifecycle import Action
    from est_server.ports.ledger import Device

app = command_group("The register of devices: who may hold certificates, and who may not any more.")
app.add_typer(key_app, name="key")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The device's id.")]


def device_dict(device: Device) -> dict[str, Any]:
    """Return a device in JSON's types."""
    return {
        "id": device.id,
        "profile": device.profile,
        "state": device.state,
        "attributes": dict(device.attributes),
        "created_at": iso(device.created_at),
    }


@app.command()
def add(
    device_id: Annotated[
        str, typer.Argument(metavar="ID", help="1 to 128 printable characters, like SN-0001.")
    ],
    profile: Annotated[str, typer.Option(help="The profile under which it enrolls.")],
    attribute: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="What rules and subjects can use; repeatable."),
    ] = None,
    otp: Annotated[
        bool, typer.Option("--otp", help="Make a one-time password; its user name is the id.")
    ] = False,
    expires: Annotated[str, typer.Option(help="Of the one-time password.")] = "7d",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Register a device.

    JSON: {"id", "profile", "state", "attributes", "created_at"}; with --otp also {"username",
    "password", "expires"}, which are shown this once.

    Example: est-server device add SN-0001 --profile device --attribute site=basel --otp
    """
    attributes = pairs(attribute, "--attribute")
    span = duration(expires, "--expires")

    async def work() -> dict[str, Any]:
        from est_server.app.clock import system_clock
        from est_server.cli.device_import import register
        from est_server.devices.registry import new_device

        async with opened(config) as (configuration, ledger):
            device = new_device(
                device_id, profile, attributes, configuration.profiles, system_clock()
            )
            found = device_dict(device)
            async for made in register(configuration, ledger, [device], span if otp else None):
                found |= {key: made[key] for key in ("username", "password", "expires")}
            return found

    show(output, asyncio.run(work()))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="CSV", help="UTF-8, with a header line.")],
    otp: Annotated[
        bool, typer.Option("--otp", help="Make one-time passwords and print them.")
    ] = False,
    expires: Annotated[str, typer.Option(help="Of the one-time passwords.")] = "7d",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Register the devices of a CSV file, all or none.

    Columns: id, profile, and one for each attribute; an empty cell is no attribute. Every line
    that is wrong is told. With --otp standard output is a CSV of id, profile, password and
    expires. JSON: {"imported", "credentials": [{"username", "password", "profile", "device",
    "uses", "expires"}]}.

    Example: est-server device import fleet.csv --otp > passwords.csv
    """
    from est_server.cli.device_import import import_devices

    span = duration(expires, "--expires") if otp else None
    asyncio.run(import_devices(file, config, span, output))


@app.command("list")
def list_(
    profile: Annotated[str | None, typer.Option(help="Only of this profile.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only active, quarantined or retired ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    after: Annotated[str | None, typer.Option(metavar="ID", help="Begin behind this id.")] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List devices by id.

    JSON: [{"id", "profile", "state", "attributes", "created_at"}].

    Example: est-server device list --state quarantined
    """
    if state is not None and state not in {"active", "quarantined", "retired"}:
        raise typer.BadParameter("active, quarantined or retired", param_hint="--state")

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            wanted: Any = state
            found = await ledger.devices(profile=profile, state=wanted, limit=limit, after=after)
            return [device_dict(device) for device in found]

    show_list(output, asyncio.run(work()), ("id", "profile", "state", "attributes"))


@app.command("show")
def show_(
    device_id: IdArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Show a device, its certificates and its latest decisions.

    JSON: as list, with "certificates" (as cert list) and "decisions": [{"decision", "at",
    "verdict", "rule", "operation"}] and "appraisals", where what its evidence came to changed:
    [{"at", "profile", "status", "rules", "policy", "worse"}].

    Example: est-server device show SN-0001
    """

    async def work() -> dict[str, Any]:
        from est_server.cli.cert import certificate_dict
        from est_server.cli.why import decisions_of_device
        from est_server.errors import NotFound

        async with opened(config) as (_, ledger):
            device = await ledger.device(device_id)
            if device is None:
                raise NotFound("device.unknown", f"there is no device {device_id}")
            certificates = await ledger.certificates(device_id=device_id)
            decisions = await decisions_of_device(ledger, device_id, 5)
            appraisals = await ledger.appraisals.of(device_id)
            return {
                **device_dict(device),
                "certificates": [certificate_dict(found) for found in certificates],
                "decisions": [
                    {
                        "decision": found.id,
                        "at": iso(found.at),
                        "verdict": found.verdict,
                        "rule": found.rule,
                        "operation": found.operation,
                    }
                    for found in decisions
                ],
                "appraisals": [
                    {
                        "at": iso(found.at),
                        "profile": found.profile,
                        "status": found.status,
                        "rules": dict(found.rules),
                        "policy": f"{found.policy[0]}@sha256:{found.policy[1]}",
                        "worse": list(found.worse),
                    }
                    for found in appraisals
                ],
            }

    found = asyncio.run(work())
    show(output, found, hidden=("certificates", "decisions", "appraisals"))
    if output == "table" and found["certificates"]:
        print("\ncertificates")
        show_list(output, found["certificates"], ("serial", "status", "subject", "not_after"))
    if output == "table" and found["decisions"]:
        print("\ndecisions")
        show_list(output, found["decisions"], ("decision", "at", "verdict", "rule", "operation"))
    if output == "table" and found["appraisals"]:
        print("\nappraisals")
        show_list(output, found["appraisals"], ("at", "profile", "status", "worse"))


def _change(action: Action, device_id: str, config: Path, output: str) -> None:
    async def work() -> dict[str, Any]:
        from est_server.app.clock import system_clock
        from est_server.devices.lifecycle import change_state

        async with opened(config) as (_, ledger):
            state = await change_state(ledger, device_id, action, system_clock())
            return {"id": device_id, "state": state}

    show(output, asyncio.run(work()))


@app.command()
def quarantine(
    device_id: IdArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Refuse a device every enrollment from its next request on, until it is released.

    JSON: {"id", "state"}. Example: est-server device quarantine SN-0001
    """
    _change("quarantine", device_id, config, output)


@app.command()
def release(
    device_id: IdArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Let a quarantined device enroll again.

    JSON: {"id", "state"}. Example: est-server device release SN-0001
    """
    _change("release", device_id, config, output)


@app.command()
def retire(
    device_id: IdArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Take a device out of service for good; there is no way back.

    JSON: {"id", "state"}. Example: est-server device retire SN-0001
    """
    _change("retire", device_id, config, output)

"""device: the register of things that may hold certificates."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Annotated, Any

import typer

from est_server.cli.output import SERVER_YAML, ConfigOption, OutputOption, opened, run, show

app = typer.Typer(help="The register of devices.", no_args_is_help=True)


def _as_dict(device: Any) -> dict[str, Any]:
    return {
        "id": device.id,
        "profile": device.profile,
        "state": device.state,
        "attributes": dict(device.attributes),
        "created_at": device.created_at.isoformat(),
    }


@app.command()
def add(
    device_id: Annotated[str, typer.Argument(metavar="ID")],
    profile: Annotated[str, typer.Option(help="the profile it enrolls under")],
    attribute: Annotated[list[str] | None, typer.Option(help="name=value, repeatable")] = None,
    otp: Annotated[bool, typer.Option("--otp", help="make a one-time password")] = False,
    expires: Annotated[str, typer.Option(help="of the one-time password")] = "7d",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Register a device: est-server device add SN-0001 --profile device --otp."""
    from est_server.devices.registry import new_device

    attributes = dict(item.partition("=")[::2] for item in attribute or [])

    async def work() -> dict[str, Any]:
        from est_server.app import system_clock
        from est_server.cli.credentials import make

        async with opened(config) as (configuration, ledger):
            device = new_device(
                device_id, profile, attributes, configuration.profiles, system_clock()
            )
            await ledger.add_devices([device])
            found = _as_dict(device)
            if otp:
                made = await make(
                    configuration, ledger, device_id, profile, device_id, 1, expires, None
                )
                found |= {"username": made["username"], "password": made["password"]}
            return found

    show(output, run(work()))


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="CSV", help="columns id, profile, attributes …")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Register many devices, all or none: est-server device import fleet.csv."""
    from est_server.devices.registry import new_device
    from est_server.errors import EstServerError, Malformed

    async def work() -> int:
        from est_server.app import system_clock

        async with opened(config) as (configuration, ledger):
            now = system_clock()
            devices = []
            with file.open(newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                for row in reader:
                    fields = {k: v for k, v in row.items() if k and v}
                    name, profile = fields.pop("id", ""), fields.pop("profile", "")
                    try:
                        devices.append(
                            new_device(name, profile, fields, configuration.profiles, now)
                        )
                    except EstServerError as error:
                        text = f"{file.name}:{reader.line_num}: {error.message}"
                        raise Malformed(error.rule, text) from error
            await ledger.add_devices(devices)
            return len(devices)

    show(output, {"imported": run(work())})


@app.command("list")
def list_(
    profile: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List devices by id."""

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            return [_as_dict(found) for found in await ledger.devices(profile=profile, limit=limit)]

    found = run(work())
    rows = [("ID", "PROFILE", "STATE"), *((d["id"], d["profile"], d["state"]) for d in found)]
    show(output, found, rows)


@app.command("show")
def show_(
    device_id: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Show a device and its certificates."""

    async def work() -> dict[str, Any]:
        from est_server.errors import NotFound

        async with opened(config) as (_, ledger):
            device = await ledger.device(device_id)
            if device is None:
                raise NotFound("device.unknown", f"there is no device {device_id}")
            certificates = await ledger.certificates(device_id=device_id)
            serials = [f"{c.serial_number:x} {c.status}" for c in certificates]
            return {**_as_dict(device), "certificates": serials}

    show(output, run(work()))


def _change(action: str, device_id: str, config: Path, output: str) -> None:
    from est_server.devices.registry import change_state

    async def work() -> dict[str, Any]:
        from est_server.app import system_clock

        async with opened(config) as (_, ledger):
            state = await change_state(ledger, device_id, action, system_clock())
            return {"id": device_id, "state": state}

    show(output, run(work()))


@app.command()
def quarantine(
    device_id: str, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Refuse a device everything until it is released; effective at its next request."""
    _change("quarantine", device_id, config, output)


@app.command()
def release(
    device_id: str, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Let a quarantined device enroll again."""
    _change("release", device_id, config, output)


@app.command()
def retire(
    device_id: str, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Take a device out of service for good."""
    _change("retire", device_id, config, output)

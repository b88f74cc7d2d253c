"""Many devices at once: read whole, told every mistake, registered in one transaction."""

from __future__ import annotations

import asyncio
import csv
import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

from est_server.app.clock import system_clock
from est_server.cli.credential import credential_dict, new_credential
from est_server.cli.options import opened
from est_server.cli.output import show, show_json
from est_server.cli.progress import bar
from est_server.devices.registry import new_device
from est_server.errors import Conflict, EstServerError, Malformed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import timedelta
    from pathlib import Path

    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Credential, Device, Ledger

_BATCH = 256  # writes that share a commit
_MOST_MISTAKES = 20


async def import_devices(file: Path, config: Path, span: timedelta | None, form: str) -> None:
    """Register the devices of `file` and print what came of it.

    Args:
        file: CSV.
        config: server.yaml.
        span: lifetime of one-time passwords; None makes none.
        form: table (with passwords: CSV) or json.

    Raises:
        Malformed: ``import.invalid``, with every mistake and its line. Nothing was registered.
    """
    async with opened(config) as (configuration, ledger):
        devices = await _read(file, configuration, ledger)
        made = register(configuration, ledger, devices, span)
        if form == "json" or span is None:
            found = [credential async for credential in made]
            value = {"imported": len(devices)}
            if form == "json":
                show_json({**value, "credentials": found})
            else:
                show(form, value)
            return
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(("id", "profile", "password", "expires"))
        async for credential in made:  # each is printed once it is durable, and only then
            writer.writerow([credential[k] for k in ("device", "profile", "password", "expires")])


async def register(
    configuration: Configuration, ledger: Ledger, devices: Sequence[Device], span: timedelta | None
) -> AsyncIterator[dict[str, Any]]:
    """Register devices in one transaction, then make a one-time password for each.

    Args:
        configuration: knows the profiles and the key of generated passwords.
        ledger: the register.
        devices: from `new_device`.
        span: lifetime of one-time passwords; None makes none.

    Yields:
        The credentials as they become durable (`credential_dict`).

    Raises:
        Conflict: ``device.exists``, ``credential.exists``. Nothing was registered.
        Malformed: the profile takes no credentials, or an id can't be a user name.
    """
    passwords: list[tuple[Credential, str | None]] = []
    if span is not None:
        for device in devices:
            passwords.append(
                new_credential(configuration, device.id, device.profile, device.id, 1, span)
            )
            if await ledger.credential(device.id) is not None:
                raise Conflict(
                    "credential.exists",
                    f"user name {device.id} has a credential",
                    hint=f"revoke it first: est-server credential revoke {device.id}",
                )
    await ledger.add_devices(devices)
    with bar("passwords", len(passwords)) as advance:
        rest = iter(passwords)
        while batch := list(islice(rest, _BATCH)):
            await asyncio.gather(*(ledger.add_credential(made) for made, _ in batch))
            advance(len(batch))
            for made, password in batch:
                yield credential_dict(made, password)


async def _read(file: Path, configuration: Configuration, ledger: Ledger) -> list[Device]:
    """Return the devices of a file in which nothing is wrong."""
    now = system_clock()
    devices: list[Device] = []
    lines: dict[str, int] = {}
    mistakes: list[str] = []
    with bar("devices", file.stat().st_size // 32) as advance:
        for line, fields in _rows(file):
            advance(1)
            name, profile = fields.pop("id"), fields.pop("profile")
            try:
                device = new_device(name, profile, fields, configuration.profiles, now)
                if name in lines:
                    raise Conflict("device.twice", f"device {name} is on line {lines[name]} too")
                if await ledger.device(name) is not None:
                    raise Conflict("device.exists", f"device {name} exists")
            except EstServerError as error:
                mistakes.append(f"{file}:{line}: {error.rule}: {error.message}")
                continue
            lines[name] = line
            devices.append(device)
    if mistakes:
        more = len(mistakes) - _MOST_MISTAKES
        told = [*mistakes[:_MOST_MISTAKES], *([f"and {more} more"] if more > 0 else [])]
        raise Malformed("import.invalid", "\n".join(["nothing was registered", *told]))
    return devices


def _rows(file: Path) -> Iterable[tuple[int, dict[str, str]]]:
    """Yield each row with its line; cells without spaces around them, empty attributes left out."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            header = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = header
            if not {"id", "profile"} <= set(header) or len(set(header)) != len(header):
                raise Malformed(
                    "import.header",
                    f"{file}:1: the columns are id, profile and attributes, each once",
                )
            for row in reader:
                if None in row or None in row.values():
                    raise Malformed(
                        "import.cells",
                        f"{file}:{reader.line_num}: {len(header)} cells are expected",
                    )
                cells = {name: cell.strip() for name, cell in row.items()}
                yield (
                    reader.line_num,
                    {
                        name: cell
                        for name, cell in cells.items()
                        if cell or name in {"id", "profile"}
                    },
                )
    except (csv.Error, UnicodeDecodeError) as error:
        raise Malformed("import.csv", f"{file}: {error}") from error

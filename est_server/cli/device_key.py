"""The device key commands."""

from __future__ import annotations

import asyncio
import secrets
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show, show_list

if TYPE_CHECKING:
    from est_server.ports.device_keys import DeviceKey

app = command_group(
    "Secret keys that a device has too, to encrypt server-made keys with (RFC 7030 4.4.1.1)."
)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The device's id.")]
NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="KEY_ID",
        help="The DecryptKeyIdentifier that names the key: text, or hex: and its octets.",
    ),
]


def key_dict(key: DeviceKey) -> dict[str, Any]:
    """Return a key in JSON's types, without the key itself."""
    return {
        "device": key.device_id,
        "key_id": key_name(key.key_id),
        "created_at": iso(key.created_at),
    }


def key_name(key_id: bytes) -> str:
    """Return how a person would write an identifier; `_identifier` reads it."""
    text = key_id.decode("ascii", "replace")
    if text.isprintable() and text.isascii() and not text.startswith("hex:"):
        return text
    return f"hex:{key_id.hex()}"


@app.command()
def add(
    device_id: IdArgument,
    key_id: NameArgument,
    key_stdin: Annotated[
        bool,
        typer.Option("--key-stdin", help="Read the key, in hexadecimal, from standard input."),
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Give the server a key of 16, 24 or 32 octets that the device has, or make one for both.

    Without --key-stdin a key of 32 octets is made and printed, this once. It is kept encrypted.
    JSON: {"device", "key_id", "created_at"}, and "key" in hexadecimal if it was made.

    Example: est-server device key add SN-0001 factory-2026
    """
    name = _identifier(key_id)
    made = None if key_stdin else secrets.token_bytes(32)
    secret = _read_key() if made is None else made

    async def work() -> dict[str, Any]:
        from est_server.app.clock import system_clock
        from est_server.enrollment.device_keys import seal
        from est_server.ports.device_keys import DeviceKey

        async with opened(config) as (configuration, ledger):
            server_secret = configuration.server.credentials.key.read(configuration.base)
            sealed = seal(secret, device_id, name, server_secret)
            key = DeviceKey(device_id, name, sealed, system_clock())
            await ledger.device_keys.add(key)
            return key_dict(key)

    found = asyncio.run(work())
    show(output, found if made is None else {**found, "key": made.hex()})


@app.command("list")
def list_(
    device_id: IdArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """List the names of a device's keys.

    JSON: [{"device", "key_id", "created_at"}]. Example: est-server device key list SN-0001
    """

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            return [key_dict(key) for key in await ledger.device_keys.list(device_id)]

    show_list(output, asyncio.run(work()), ("key_id", "created_at"))


@app.command()
def remove(
    device_id: IdArgument,
    key_id: NameArgument,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Remove a key for good; what was encrypted with it stays readable for the device.

    JSON: {"device", "key_id"}. Example: est-server device key remove SN-0001 factory-2026
    """
    name = _identifier(key_id)

    async def work() -> None:
        async with opened(config) as (_, ledger):
            await ledger.device_keys.remove(device_id, name)

    asyncio.run(work())
    show(output, {"device": device_id, "key_id": key_name(name)})


def _identifier(text: str) -> bytes:
    try:
        found = bytes.fromhex(text[4:]) if text.startswith("hex:") else text.encode("ascii")
    except ValueError as error:
        raise typer.BadParameter("write ASCII text, or hex: and octets") from error
    if not 1 <= len(found) <= 255:
        raise typer.BadParameter("a key's identifier has 1 to 255 octets")
    return found


def _read_key() -> bytes:
    try:
        return bytes.fromhex(sys.stdin.readline().strip())
    except ValueError as error:
        raise typer.BadParameter("the key on standard input is not hexadecimal") from error

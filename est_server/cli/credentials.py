"""credential: what devices authenticate with the first time."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.output import SERVER_YAML, ConfigOption, OutputOption, opened, run, show

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Ledger

app = typer.Typer(help="Enrollment credentials (HTTP Basic).", no_args_is_help=True)


async def make(
    configuration: Configuration,
    ledger: Ledger,
    username: str,
    profile: str,
    device: str | None,
    uses: int | None,
    expires: str | None,
    chosen: str | None,
) -> dict[str, Any]:
    """Create a credential and return what is shown of it, once."""
    from pydantic import TypeAdapter

    from est_server.app import system_clock
    from est_server.enrollment import credentials as passwords
    from est_server.enrollment.identifiers import new_identifier
    from est_server.errors import Malformed, NotFound
    from est_server.ports.ledger import Credential
    from est_server.profiles.scalars import Duration

    if profile not in configuration.profiles:
        raise NotFound("profile.unknown", f"there is no profile {profile!r}")
    if not username or ":" in username or not username.isprintable():
        raise Malformed("credential.username", "a user name is printable and has no colon")
    now = system_clock()
    password = passwords.generate_password() if chosen is None else None
    if password is not None:
        key = configuration.server.credentials.key.read(configuration.base)
        verifier = passwords.hash_generated(password, key)
    else:
        verifier = passwords.hash_chosen(chosen or "")
    end = None if expires is None else now + TypeAdapter(Duration).validate_python(expires)
    await ledger.add_credential(
        Credential(
            id=new_identifier("c", now),
            username=username,
            verifier=verifier,
            profile=profile,
            created_at=now,
            device_id=device,
            uses_allowed=uses,
            expires_at=end,
        )
    )
    return {
        "username": username,
        "password": password,
        "profile": profile,
        "device": device,
        "uses": "unlimited" if uses is None else uses,
        "expires": None if end is None else end.isoformat(),
    }


@app.command()
def add(
    username: str,
    profile: Annotated[str, typer.Option(help="the profile it is good for")],
    device: Annotated[str | None, typer.Option(help="bind it to this device")] = None,
    uses: Annotated[str, typer.Option(help="how many certificates, or unlimited")] = "1",
    expires: Annotated[
        str | None, typer.Option(help="like 7d; one-time ones default to it")
    ] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin")] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a credential: est-server credential add lab --profile interop --uses unlimited."""
    if uses != "unlimited" and (not uses.isdecimal() or int(uses) == 0):
        raise typer.BadParameter("a number, or unlimited", param_hint="--uses")
    count = None if uses == "unlimited" else int(uses)
    chosen = sys.stdin.readline().rstrip("\r\n") if password_stdin else None
    if chosen is not None and len(chosen) < 8:
        raise typer.BadParameter("at least 8 characters", param_hint="--password-stdin")
    until = expires or (None if count is None else "7d")

    async def work() -> dict[str, Any]:
        async with opened(config) as (configuration, ledger):
            return await make(
                configuration, ledger, username, profile, device, count, until, chosen
            )

    show(output, run(work()))


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List credentials; passwords are not kept."""

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            return [
                {
                    "username": found.username,
                    "profile": found.profile,
                    "device": found.device_id,
                    "uses": found.uses,
                    "allowed": found.uses_allowed,
                    "expires": None if found.expires_at is None else found.expires_at.isoformat(),
                    "revoked": found.revoked_at is not None,
                }
                for found in await ledger.credentials(limit=10000)
            ]

    found = run(work())
    header = ("USERNAME", "PROFILE", "DEVICE", "USES", "ALLOWED", "EXPIRES", "REVOKED")
    show(output, found, [header, *(tuple(item.values()) for item in found)])


@app.command()
def revoke(
    username: str, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Revoke a credential; effective at the next request."""

    async def work() -> None:
        from est_server.app import system_clock

        async with opened(config) as (_, ledger):
            await ledger.revoke_credential(username, at=system_clock())

    run(work())
    show(output, {"username": username, "revoked": True})

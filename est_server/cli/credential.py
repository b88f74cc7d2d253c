"""The credential commands."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, duration, opened
from est_server.cli.output import iso, show, show_list

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration
    from est_server.ports.ledger import Credential

app = command_group("Enrollment credentials (HTTP Basic): add, list, revoke.")

SHORTEST_PASSWORD = 12
_ONE_TIME = timedelta(days=7)


@app.command()
def add(
    username: Annotated[str, typer.Argument(help="What the device sends as its user name.")],
    profile: Annotated[str, typer.Option(help="The profile that it is good for.")],
    device: Annotated[
        str | None, typer.Option(metavar="ID", help="The device that it enrolls.")
    ] = None,
    uses: Annotated[
        str, typer.Option(metavar="N", help="How many certificates, or unlimited.")
    ] = "1",
    expires: Annotated[
        str | None,
        typer.Option(help="Like 7d, or never; without it 7d for one use, never for more."),
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password; it is not printed.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a credential and print its password, once.

    JSON: {"username", "password", "profile", "device", "uses", "expires"}; "uses" is a number or
    "unlimited", "password" is null when it was chosen.

    Example: est-server credential add lab --profile interop --uses unlimited
    """
    count = _count(uses)
    span = _ONE_TIME if count == 1 else None
    if expires is not None:
        span = None if expires == "never" else duration(expires, "--expires")
    chosen = _read_password() if password_stdin else None

    async def work() -> dict[str, Any]:
        async with opened(config) as (configuration, ledger):
            made, password = new_credential(
                configuration, username, profile, device, count, span, chosen
            )
            registration = configuration.profiles[profile].model.registration
            if registration == "registered" and await ledger.device(device or username) is None:
                from est_server.errors import NotFound

                raise NotFound(
                    "device.unknown",
                    f"there is no device {device or username}, and profile {profile} needs one",
                    hint=f"est-server device add {device or username} --profile {profile} --otp",
                )
            await ledger.add_credential(made)
            return credential_dict(made, password)

    show(output, asyncio.run(work()))


def new_credential(
    configuration: Configuration,
    username: str,
    profile: str,
    device: str | None,
    uses: int | None,
    span: timedelta | None,
    chosen: str | None = None,
) -> tuple[Credential, str | None]:
    """Return a credential to be added and its password, if it was generated.

    Args:
        configuration: knows the profiles and the key of generated passwords.
        username: printable, no colon (RFC 7617 2).
        profile: one that takes credentials.
        device: the device that it enrolls, if not the one of its user name.
        uses: how many certificates; None is unlimited.
        span: how long it is good for; None is for ever.
        chosen: the password; None generates one.

    Raises:
        NotFound: ``profile.unknown``.
        Malformed: ``credential.username``, ``credential.profile``.
    """
    from est_server.app.clock import system_clock
    from est_server.enrollment import credentials as passwords
    from est_server.enrollment.identifiers import new_identifier
    from est_server.errors import Malformed, NotFound
    from est_server.ports.ledger import Credential

    if profile not in configuration.profiles:
        hint = f"known: {', '.join(sorted(configuration.profiles))}"
        raise NotFound("profile.unknown", f"there is no profile {profile!r}", hint=hint)
    model = configuration.profiles[profile].model
    proofs = model.proof_of_possession
    in_csr = proofs.otp == "required" or proofs.challenge == "otp"
    if not in_csr and not any(method.credential for method in model.authenticate):
        raise Malformed("credential.profile", f"profile {profile} takes no credentials")
    if not username or ":" in username or not username.isprintable():
        raise Malformed("credential.username", "a user name is printable and has no colon")
    now = system_clock()
    password = None
    if chosen is None:
        password = passwords.generate_password()
        key = configuration.server.credentials.key.read(configuration.base)
        verifier = passwords.hash_generated(password, key)
    else:
        verifier = passwords.hash_chosen(chosen)
    made = Credential(
        id=new_identifier("c", now),
        username=username,
        verifier=verifier,
        profile=profile,
        created_at=now,
        device_id=device,
        uses_allowed=uses,
        expires_at=None if span is None else now + span,
    )
    return made, password


def credential_dict(made: Credential, password: str | None) -> dict[str, Any]:
    """Return what is shown of a new credential, once."""
    return {
        "username": made.username,
        "password": password,
        "profile": made.profile,
        "device": made.device_id,
        "uses": "unlimited" if made.uses_allowed is None else made.uses_allowed,
        "expires": iso(made.expires_at),
    }


@app.command("list")
def list_(
    profile: Annotated[str | None, typer.Option(help="Only of this profile.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List credentials by user name, revoked ones too; passwords are not kept.

    JSON: [{"username", "profile", "device", "uses", "allowed", "created_at", "expires",
    "revoked_at"}]; "allowed" is null for unlimited.

    Example: est-server credential list --profile device
    """

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            return [
                {
                    "username": found.username,
                    "profile": found.profile,
                    "device": found.device_id,
                    "uses": found.uses,
                    "allowed": found.uses_allowed,
                    "created_at": iso(found.created_at),
                    "expires": iso(found.expires_at),
                    "revoked_at": iso(found.revoked_at),
                }
                for found in await ledger.credentials(profile=profile, limit=limit)
            ]

    found = asyncio.run(work())
    columns = ("username", "profile", "device", "uses", "allowed", "expires", "revoked_at")
    show_list(output, found, columns)


@app.command()
def revoke(
    username: Annotated[str, typer.Argument(help="Whose credential.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Revoke a credential; it counts for the next request.

    JSON: {"username", "revoked_at"}. Example: est-server credential revoke lab
    """

    async def work() -> dict[str, Any]:
        from est_server.app.clock import system_clock

        async with opened(config) as (_, ledger):
            now = system_clock()
            await ledger.revoke_credential(username, at=now)
            return {"username": username, "revoked_at": iso(now)}

    show(output, asyncio.run(work()))


def _count(uses: str) -> int | None:
    if uses == "unlimited":
        return None
    if not uses.isascii() or not uses.isdecimal() or not 1 <= int(uses) <= 1_000_000:
        raise typer.BadParameter("a number from 1, or unlimited", param_hint="--uses")
    return int(uses)


def _read_password() -> str:
    from est_server.enrollment.credentials import PASSWORD_LIMIT

    password = sys.stdin.readline().rstrip("\r\n")
    if not SHORTEST_PASSWORD <= len(password) <= PASSWORD_LIMIT or not password.isprintable():
        text = f"{SHORTEST_PASSWORD} to {PASSWORD_LIMIT} printable characters"
        raise typer.BadParameter(text, param_hint="--password-stdin")
    return password

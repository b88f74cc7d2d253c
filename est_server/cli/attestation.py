"""The attestation commands."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, moment, opened
from est_server.cli.output import show_json

app = command_group("Evidence of devices: explain.")


@app.callback()
def _group() -> None:
    """Keep `explain` a command of a group."""


@app.command()
def explain(
    csr: Annotated[Path, typer.Option("--csr", help="The request: PEM, base64 or DER.")],
    profile: Annotated[str, typer.Option("--profile", help="Whose policy.")],
    nonce: Annotated[
        str | None,
        typer.Option(
            "--nonce",
            help="In hexadecimal or base64url, taken as given out to this device; without, the "
            "ledger must know it.",
        ),
    ] = None,
    identity: Annotated[
        str, typer.Option("--identity", help="Who asks, for claims that name the device.")
    ] = "",
    at: Annotated[str | None, typer.Option("--at", help="The time to judge for; now.")] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Appraise a request's evidence as production would, and show every check.

    Nothing is issued and no nonce is spent. Exit code 1 if the policy would refuse. JSON: the
    Attestation Result as `why` has it: {"status", "do", "code", "policy", "checks", "submods"}.

    Example: est-server attestation explain --csr device.csr --profile router --nonce 00aa…
    """
    from est_server.app.clock import system_clock
    from est_server.cli.appraisal import appraised, show_attestation
    from est_server.errors import NotFound
    from est_server.wire.est_body import decode_body
    from est_server.wire.pkcs10 import parse_csr, verify_signature

    known = None if nonce is None else _octets(nonce)
    when = system_clock() if at is None else moment(at, "--at")

    async def work() -> dict[str, Any]:
        async with opened(config) as (configuration, ledger):
            found = configuration.profiles.get(profile)
            if found is None:
                hint = f"known: {', '.join(sorted(configuration.profiles))}"
                raise NotFound("profile.unknown", f"there is no profile {profile!r}", hint=hint)
            wanted = found.model.attestation
            if wanted is None:
                raise NotFound("attestation.not-asked", f"profile {profile} asks for no evidence")
            request = parse_csr(decode_body(csr.read_bytes()).der)
            verify_signature(request)
            policy = configuration.policies[wanted.policy].policy
            result = await appraised(
                policy, request, ledger, nonce=known, identity=identity, at=when
            )
            return result.as_dict()

    result = asyncio.run(work())
    if output == "json":
        show_json(result)
    else:
        show_attestation(result)
    raise typer.Exit(REFUSED if result["do"] == "refuse" else OK)


def _octets(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        pass
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError as error:
        message = "write hexadecimal or base64url"
        raise typer.BadParameter(message, param_hint="--nonce") from error

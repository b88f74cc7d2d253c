"""What a person does about a request that its CA left open."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.operator import operator
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show

if TYPE_CHECKING:
    from est_server.config.configuration import Configuration
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ledger import Ledger


async def at_ca(ledger: Ledger, request_id: str) -> dict[str, Any]:
    """Return what is known of a request at its CA, and what can be done about it."""
    request = await ledger.request(request_id)
    order = await ledger.orders.get(request_id)
    made = await ledger.orders.certificate(request_id)
    next_at = None if order is None else order.next_at
    command = f"est-server request resolve {request_id}"
    can = [f"{command} --not-issued"]
    if order is not None:
        can = [f"{command} --recheck", f"{command} --certificate FILE", *can]
    return {
        "ca": None if request is None else request.ca,
        "ticket": None if order is None else order.ticket,
        "certificates": [] if made is None else [f"{made.serial_number:x}"],
        "next_attempt": iso(next_at),
        "can": can,
    }


def resolve(
    request: Annotated[str, typer.Argument(metavar="ID", help="A request (r_…).")],
    certificate: Annotated[
        Path | None, typer.Option(help="PEM: what the CA made; checked against the order.")
    ] = None,
    refuse: Annotated[
        bool,
        typer.Option(help="--certificate is not what was ordered: write it down, revoked."),
    ] = False,
    not_issued: Annotated[
        bool, typer.Option("--not-issued", help="The CA has made nothing that is in use.")
    ] = False,
    recheck: Annotated[bool, typer.Option("--recheck", help="Ask the CA once more, now.")] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Settle a request whose outcome at its CA is unknown.

    Look for its ticket, its token (the request's id) or its key at the CA first. With --certificate
    the device gets it at its next request; with --not-issued the device's next request is a new
    one. Exit code 1 if --recheck can't tell. JSON: {"request", "state"}.

    Example: est-server request resolve r_06h0… --certificate found.pem
    """
    if sum((certificate is not None, not_issued, recheck)) != 1:
        raise typer.BadParameter("one of --certificate, --not-issued and --recheck is needed")
    if refuse and certificate is None:
        raise typer.BadParameter("--refuse says what --certificate is", param_hint="--refuse")

    async def work() -> dict[str, Any]:
        from est_server.app.clock import system_clock
        from est_server.enrollment import resolving

        async with opened(config) as (configuration, ledger):
            if not_issued:
                await resolving.free(ledger, request, by=operator(), clock=system_clock)
            else:
                authority = await _authority(configuration, ledger, request)
                if certificate is None:
                    await resolving.recheck(ledger, authority, request, system_clock)
                else:
                    found = _read(certificate)
                    what = resolving.refuse if refuse else resolving.bring
                    await what(ledger, authority, request, found, by=operator(), clock=system_clock)
                await authority.close()
            settled = await ledger.request(request)
            return {"request": request, "state": None if settled is None else settled.state}

    from est_server.cli.exit import OK, REFUSED

    value = asyncio.run(work())
    show(output, value)
    raise typer.Exit(REFUSED if recheck and value["state"] == "parked" else OK)


def _read(file: Path) -> Any:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(file.read_bytes())
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"no PEM certificate: {error}", param_hint=str(file)) from error


async def _authority(
    configuration: Configuration, ledger: Ledger, request_id: str
) -> CertificateAuthority:
    from est_server.app.authorities import Authorities
    from est_server.errors import NotFound

    request = await ledger.request(request_id)
    if request is None:
        raise NotFound("request.unknown", f"there is no request {request_id}")
    authorities = Authorities(configuration)
    await authorities.connect(await ledger.rollovers.all())
    if (error := authorities.broken.get(request.ca)) is not None:
        raise error
    if request.ca not in authorities.open:
        raise NotFound("ca.unknown", f"there is no CA {request.ca!r} any more")
    for name, other in authorities.open.items():
        if name != request.ca:
            await other.close()
    return authorities.open[request.ca]

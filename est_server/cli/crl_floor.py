"""The command that lets the numbers of a CA's lists go on above those outside."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show_list

if TYPE_CHECKING:
    from est_server.ports.ledger import Ledger

_LARGEST = 1 << 62  # a ledger's numbers end at twice that


def floor(
    ca: Annotated[str, typer.Argument(help="As in server.yaml.")],
    number: Annotated[str, typer.Argument(help="The highest that is out there; 0x for hex.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Let the numbers of a CA's lists go on above one that was seen outside.

    A ledger that was restored from a backup gives numbers out again that relying parties have seen,
    and they take no list whose number is not higher. A server that writes into a directory looks
    there by itself; otherwise read the number where a list is kept (openssl crl -noout -crlnumber,
    which says it in hexadecimal), and publish afterwards. No floor is ever lowered. JSON: [{"ca",
    "shard", "floor"}]; lists have numbers above "floor" from now on.

    Example: est-server crl floor issuing 4711
    """
    try:
        least = int(number, 0)
    except ValueError:
        least = 0
    if not 0 < least < _LARGEST:
        raise typer.BadParameter("write a CRL number, like 4711 or 0x1267", param_hint="NUMBER")

    async def work() -> list[dict[str, Any]]:
        from est_server.app.clock import system_clock

        async with opened(config) as (_, ledger):
            facts = {"ca": ca, "number": str(least)}
            await ledger.audit.note("crl-floor", facts, at=system_clock())
            return await _raise(ledger, ca, least)

    show_list(output, asyncio.run(work()), ("ca", "shard", "floor"))


async def _raise(ledger: Ledger, ca: str, number: int) -> list[dict[str, Any]]:
    from datetime import timedelta

    from est_server.app.clock import system_clock
    from est_server.errors import NotFound

    # long ago: nobody is at work on a list with this number, and none need wait for it
    at = system_clock() - timedelta(days=1)
    found = []
    for scope in await ledger.crls.scopes():
        if scope.ca != ca:
            continue
        last = scope.last_number
        if last < number:
            last = await ledger.crls.reserve_number(
                ca, scope.shard, after=last, at_least=number - 1, at=at
            )
        found.append({"ca": ca, "shard": scope.shard, "floor": last})
    if not found:
        raise NotFound("crl.none", f"no CA called {ca} has published lists here")
    return found

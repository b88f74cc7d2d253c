"""The ca commands."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show, show_list
from est_server.cli.rollover import app as rollover_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover

app = command_group("Certificate authorities of server.yaml: list, show, rollover, test-sign.")
app.add_typer(rollover_app, name="rollover")


@dataclass(frozen=True, slots=True)
class _Opened:
    """A CA of server.yaml, or one that a rollover brought."""

    backend: str
    authority: CertificateAuthority
    issues: bool
    rollover: Rollover | None


@asynccontextmanager
async def _opened(
    config: Path, name: str | None = None
) -> AsyncIterator[tuple[dict[str, _Opened], Ledger]]:
    """Open all CAs or one, until the block ends.

    Raises:
        NotFound: ``ca.unknown``.
        BackendUnavailable: it can't be opened.
    """
    from est_server.app.parts import open_authorities
    from est_server.errors import NotFound
    from est_server.rollover.publication import issuing_name

    async with opened(config) as (configuration, ledger):
        rollovers = await ledger.rollovers.all()
        origin = {rollover.successor: rollover.ca for rollover in rollovers}
        issuing = {issuing_name(ca, rollovers) for ca in configuration.ca_settings}
        known = configuration.server.cas
        authorities = open_authorities(configuration, rollovers)
        if name is not None and name not in authorities:
            hint = f"known: {', '.join(authorities)}"
            raise NotFound("ca.unknown", f"there is no CA {name!r}", hint=hint)
        latest = {rollover.ca: rollover for rollover in rollovers}
        found = {
            ca: _Opened(
                known[origin.get(ca, ca)].backend,
                authority,
                ca in issuing,
                latest.get(origin.get(ca, ca)),
            )
            for ca, authority in authorities.items()
            if name in {None, ca}
        }
        try:
            yield found, ledger
        finally:
            for authority in authorities.values():
                await authority.close()


def certificate_dict(certificate: x509.Certificate) -> dict[str, Any]:
    """Return what people compare of a CA certificate."""
    from est_server.pki.authority import fingerprint
    from est_server.pki.names import name_text

    return {
        "subject": name_text(certificate.subject),
        "serial": f"{certificate.serial_number:x}",
        "not_before": certificate.not_valid_before_utc.isoformat(),
        "not_after": certificate.not_valid_after_utc.isoformat(),
        "fingerprint": fingerprint(certificate),
    }


def _line(name: str, ca: _Opened) -> dict[str, Any]:
    return {
        "name": name,
        "backend": ca.backend,
        "issues": ca.issues,
        "rollover": None if ca.rollover is None else ca.rollover.state,
        **certificate_dict(ca.authority.certificates().issuer),
    }


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List the CAs, those that rollovers brought too.

    JSON: [{"name", "backend", "issues", "rollover": state of the latest, or null, "subject",
    "serial", "not_before", "not_after", "fingerprint"}].

    Example: est-server ca list
    """

    async def work() -> list[dict[str, Any]]:
        async with _opened(config) as (found, _):
            return [_line(name, ca) for name, ca in found.items()]

    columns = ("name", "backend", "issues", "rollover", "subject", "not_after")
    show_list(output, asyncio.run(work()), columns)


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="As ca list has it.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Show one CA, its chain, what its backend can do, and who follows its rollover.

    JSON: as list, with "chain": [certificates above it], "device_keys" (empty: any),
    "holds_signature", "local_key" and "followers": {"holders", "fetched", "renewed", "behind"},
    null without a rollover.

    Example: est-server ca show issuing
    """

    async def work() -> dict[str, Any]:
        async with _opened(config, name) as (found, ledger):
            ca = found[name]
            can = ca.authority.capabilities
            return {
                **_line(name, ca),
                "chain": [certificate_dict(above) for above in ca.authority.certificates().chain],
                "device_keys": sorted(can.device_keys),
                "holds_signature": can.holds_signature,
                "local_key": can.local_key,
                "followers": None
                if ca.rollover is None
                else asdict(await ledger.rollovers.counts(ca.rollover, system_clock())),
            }

    from est_server.app.clock import system_clock

    value = asyncio.run(work())
    if output == "json":
        show(output, value)
        return
    chain = [f"{above['subject']} ({above['fingerprint']})" for above in value["chain"]]
    show(output, {**value, "chain": chain, "device_keys": value["device_keys"] or "any"})


@app.command("test-sign")
def sign(
    name: Annotated[str | None, typer.Argument(help="As ca list has it; without it, all.")] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a test signature with each CA's key and check it; exit code 1 if one fails.

    JSON: [{"name", "ok", "detail"}]. Example: est-server ca test-sign issuing
    """

    async def work() -> list[dict[str, Any]]:
        lines = []
        async with _opened(config, name) as (found, _):
            for known, ca in found.items():
                health = await ca.authority.health()
                lines.append({"name": known, "ok": health.ok, "detail": health.detail})
        return lines

    found = asyncio.run(work())
    show_list(output, found, ("name", "ok", "detail"))
    raise typer.Exit(OK if all(ca["ok"] for ca in found) else REFUSED)

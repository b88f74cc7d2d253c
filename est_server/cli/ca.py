"""The ca commands."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.ca_token import app as token_app
from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show, show_list
from est_server.cli.rollover import app as rollover_app

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cryptography import x509

    from est_server.errors import BackendUnavailable
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover

app = command_group(
    "Certificate authorities of server.yaml: list, show, init, install, rollover, test-sign."
)
app.add_typer(rollover_app, name="rollover")
app.registered_commands += token_app.registered_commands


@dataclass(frozen=True, slots=True)
class _Opened:
    """A CA of server.yaml, or one that a rollover brought."""

    backend: str
    authority: CertificateAuthority | BackendUnavailable
    issues: bool
    rollover: Rollover | None

    def usable(self) -> CertificateAuthority:
        """Return the authority.

        Raises:
            BackendUnavailable: why it can't be used.
        """
        from est_server.errors import BackendUnavailable

        if isinstance(self.authority, BackendUnavailable):
            raise self.authority
        return self.authority


@asynccontextmanager
async def _opened(
    config: Path, name: str | None = None
) -> AsyncIterator[tuple[dict[str, _Opened], Ledger]]:
    """Open all CAs as far as they can be used, or one, until the block ends.

    Raises:
        NotFound: ``ca.unknown``.
    """
    from est_server.app.authorities import Authorities
    from est_server.errors import NotFound
    from est_server.rollover.publication import issuing_name

    async with opened(config) as (configuration, ledger):
        rollovers = await ledger.rollovers.all()
        origin = {rollover.successor: rollover.ca for rollover in rollovers}
        issuing = {issuing_name(ca, rollovers) for ca in configuration.ca_settings}
        known = configuration.server.cas
        cas = Authorities(configuration)
        await cas.connect(rollovers)
        authorities: dict[str, CertificateAuthority | BackendUnavailable] = {
            **cas.broken,
            **cas.open,
        }
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
            await cas.close()


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


_CERTIFICATE = ("subject", "serial", "not_before", "not_after", "fingerprint")


def _line(name: str, ca: _Opened) -> dict[str, Any]:
    from est_server.errors import EstServerError

    return {
        "name": name,
        "backend": ca.backend,
        "issues": ca.issues,
        "rollover": None if ca.rollover is None else ca.rollover.state,
        "unusable": str(ca.authority) if isinstance(ca.authority, EstServerError) else None,
        **(
            dict.fromkeys(_CERTIFICATE)
            if isinstance(ca.authority, EstServerError)
            else certificate_dict(ca.authority.certificates().issuer)
        ),
    }


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List the CAs, those that rollovers brought too.

    JSON: [{"name", "backend", "issues", "rollover": state of the latest, or null, "unusable": why
    it can't be used now, or null, "subject", "serial", "not_before", "not_after", "fingerprint"}].

    Example: est-server ca list
    """

    async def work() -> list[dict[str, Any]]:
        async with _opened(config) as (found, _):
            return [_line(name, ca) for name, ca in found.items()]

    columns = ("name", "backend", "issues", "rollover", "unusable", "subject", "not_after")
    show_list(output, asyncio.run(work()), columns)


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="As ca list has it.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Show one CA, its chain, what its backend can do, and who follows its rollover.

    JSON: as list, with "chain": [certificates above it], "device_keys" (empty: any),
    "holds_signature", "local_key", "revokes", "looks_up", "prepares", "repeats_for": seconds,
    "may_wait", "own": what it decides by itself, and "followers": {"holders", "fetched",
    "renewed", "behind"}, null without a rollover.

    Example: est-server ca show issuing
    """

    async def work() -> dict[str, Any]:
        async with _opened(config, name) as (found, ledger):
            ca = found[name]
            authority = ca.usable()
            can = authority.capabilities
            return {
                **_line(name, ca),
                "chain": [certificate_dict(above) for above in authority.certificates().chain],
                "device_keys": sorted(can.device_keys),
                "holds_signature": can.holds_signature,
                "local_key": can.local_key,
                "revokes": can.revokes,
                "looks_up": can.looks_up,
                "prepares": can.prepares,
                "repeats_for": int(can.repeats_for.total_seconds()),
                "may_wait": can.may_wait,
                "own": sorted(can.own),
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
    from est_server.errors import BackendUnavailable
    from est_server.ports.ca import Health

    async def work() -> list[dict[str, Any]]:
        lines = []
        async with _opened(config, name) as (found, _):
            for known, ca in found.items():
                try:
                    health = await ca.usable().health()
                except BackendUnavailable as error:
                    detail = (
                        error.message if error.hint is None else f"{error.message}; {error.hint}"
                    )
                    health = Health(ok=False, detail=detail)
                lines.append({"name": known, "ok": health.ok, "detail": health.detail})
        return lines

    found = asyncio.run(work())
    show_list(output, found, ("name", "ok", "detail"))
    raise typer.Exit(OK if all(ca["ok"] for ca in found) else REFUSED)

"""The ca commands."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption
from est_server.cli.output import show, show_list

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.ca import CertificateAuthority

app = command_group("Certificate authorities of server.yaml: list, show, test-sign.")


def _open(config: Path, name: str | None = None) -> dict[str, tuple[str, CertificateAuthority]]:
    """Return CA name -> (backend, authority), of all or of one.

    Raises:
        NotFound: ``ca.unknown``.
        BackendUnavailable: it can't be opened.
    """
    from est_server.app.parts import open_authorities
    from est_server.config.configuration import load
    from est_server.errors import NotFound

    configuration = load(config)
    known = configuration.server.cas
    if name is not None and name not in known:
        hint = f"known: {', '.join(known)}"
        raise NotFound("ca.unknown", f"there is no CA {name!r}", hint=hint)
    return {
        found: (known[found].backend, authority)
        for found, authority in open_authorities(configuration).items()
        if name in {None, found}
    }


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


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List the CAs.

    JSON: [{"name", "backend", "subject", "serial", "not_before", "not_after", "fingerprint"}].

    Example: est-server ca list
    """
    found = [
        {"name": name, "backend": backend, **certificate_dict(authority.certificates().issuer)}
        for name, (backend, authority) in _open(config).items()
    ]
    show_list(output, found, ("name", "backend", "subject", "not_after"))


@app.command("show")
def show_(
    name: Annotated[str, typer.Argument(help="As in server.yaml.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Show one CA, its chain and what its backend can do.

    JSON: as list, with "chain": [certificates above it], "device_keys" (empty: any),
    "holds_signature" and "local_key".

    Example: est-server ca show issuing
    """
    backend, authority = _open(config, name)[name]
    certificates = authority.certificates()
    value = {
        "name": name,
        "backend": backend,
        **certificate_dict(certificates.issuer),
        "chain": [certificate_dict(above) for above in certificates.chain],
        "device_keys": sorted(authority.capabilities.device_keys),
        "holds_signature": authority.capabilities.holds_signature,
        "local_key": authority.capabilities.local_key,
    }
    if output == "json":
        show(output, value)
        return
    chain = [f"{above['subject']} ({above['fingerprint']})" for above in value["chain"]]
    show(output, {**value, "chain": chain, "device_keys": value["device_keys"] or "any"})


@app.command("test-sign")
def sign(
    name: Annotated[str | None, typer.Argument(help="As in server.yaml; without it, all.")] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a test signature with each CA's key and check it; exit code 1 if one fails.

    JSON: [{"name", "ok", "detail"}]. Example: est-server ca test-sign issuing
    """

    async def work() -> list[dict[str, Any]]:
        found = []
        for known, (_, authority) in _open(config, name).items():
            health = await authority.health()
            found.append({"name": known, "ok": health.ok, "detail": health.detail})
            await authority.close()
        return found

    found = asyncio.run(work())
    show_list(output, found, ("name", "ok", "detail"))
    raise typer.Exit(OK if all(ca["ok"] for ca in found) else REFUSED)

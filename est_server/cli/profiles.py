"""profile: list, show, test."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from est_server.cli.certificates import print_gates
from est_server.cli.output import (
    REFUSED,
    SERVER_YAML,
    ConfigOption,
    OutputOption,
    opened,
    run,
    show,
)

app = typer.Typer(help="Profiles: who may get what, and why.", no_args_is_help=True)


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List profiles with their labels."""
    from est_server.config.configuration import load

    found = [
        {
            "name": name,
            "labels": list(model.labels),
            "ca": model.ca,
            "description": model.description,
        }
        for name, (model, _, _) in load(config).profiles.items()
    ]
    rows: list[tuple[str, ...]] = [("NAME", "LABELS", "CA", "DESCRIPTION")]
    rows += [tuple(str(value) for value in profile.values()) for profile in found]
    show(output, found, rows)


@app.command("show")
def show_(name: str, config: ConfigOption = SERVER_YAML) -> None:
    """Print a profile with every default, as JSON."""
    from est_server.config.configuration import load
    from est_server.errors import NotFound

    profiles = load(config).profiles
    if name not in profiles:
        raise NotFound("profile.unknown", f"there is no profile {name!r}")
    print(profiles[name][0].model_dump_json(indent=2, by_alias=True, fallback=str))


@app.command("test")
def decide_(
    name: Annotated[str, typer.Argument(metavar="PROFILE")],
    csr: Annotated[Path, typer.Option(help="PKCS #10 request: PEM, DER or base64")],
    device: Annotated[str | None, typer.Option(help="the identity that asks")] = None,
    client_cert: Annotated[Path | None, typer.Option(help="PEM chain, leaf first")] = None,
    operation: Annotated[
        Literal["simpleenroll", "simplereenroll"], typer.Option()
    ] = "simpleenroll",
    at: Annotated[datetime | None, typer.Option(help="decide for this time (UTC)")] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Decide about a request as production would, without issuing anything.

    est-server profile test device --csr device.csr --device SN-0001
    """
    decision = run(_decide(name, csr, device, client_cert, operation, at, config))
    trace = json.loads(decision.trace())
    value: dict[str, Any] = {
        "verdict": decision.verdict,
        "rule": decision.rule,
        "message": decision.message,
        "profile": decision.profile[0],
        "profile_digest": decision.profile[1],
        **trace,
    }
    if output == "json":
        show(output, value)
    else:
        print_gates(trace["gates"])
        print(f"{decision.verdict}: {decision.rule or ''} {decision.message}")
        if trace["plan"]:
            show("table", trace["plan"])
    raise typer.Exit(0 if decision.verdict == "allow" else REFUSED)


async def _decide(
    name: str,
    csr: Path,
    device: str | None,
    client_cert: Path | None,
    operation: Literal["simpleenroll", "simplereenroll"],
    at: datetime | None,
    config: Path,
) -> Any:
    from datetime import UTC

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.app import open_authorities, rulebook_of, system_clock
    from est_server.enrollment.request import EnrollmentRequest
    from est_server.errors import Malformed, NotFound
    from est_server.ports.tls import TlsFacts
    from est_server.profiles.decide import decide
    from est_server.profiles.decision import Identity, RequestFacts
    from est_server.storage.memory import MemoryEphemeral
    from est_server.wire.est_body import decode_body
    from est_server.wire.pkcs10 import parse_csr, verify_signature

    async with opened(config) as (configuration, ledger):
        authorities = open_authorities(configuration)
        rulebook = rulebook_of(configuration, authorities, ledger, MemoryEphemeral())
        if name not in rulebook.profiles:
            raise NotFound("profile.unknown", f"there is no profile {name!r}")
        profile = rulebook.profiles[name]
        try:
            request = parse_csr(decode_body(csr.read_bytes()).der)
        except OSError as error:
            raise Malformed("csr.file", f"{csr}: {error.strerror}") from error
        verify_signature(request)
        now = system_clock() if at is None else at.replace(tzinfo=UTC)
        identity = Identity(device or "unknown", "credential", detail="as if by a credential")
        if client_cert is not None:
            chain = x509.load_pem_x509_certificates(client_cert.read_bytes())
            facts = TlsFacts(
                version="TLSv1.3",
                cipher="",
                group=None,
                resumed=False,
                server_name=None,
                client_chain=tuple(found.public_bytes(Encoding.DER) for found in chain),
                tls_unique=None,
                tls_exporter=None,
            )
            identity = await rulebook.authenticator.identify(
                profile, EnrollmentRequest(operation, None, b"", facts, None, "profile test")
            )
        known = await ledger.device(identity.name)
        return decide(profile, RequestFacts(operation, None, request, identity), known, now)

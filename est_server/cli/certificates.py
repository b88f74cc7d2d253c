"""cert and why."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from est_server.cli.output import SERVER_YAML, ConfigOption, OutputOption, opened, run, show

if TYPE_CHECKING:
    from est_server.ports.ledger import CertificateRecord, DecisionRecord, Ledger

app = typer.Typer(help="Certificates in the ledger.", no_args_is_help=True)


def _as_dict(found: CertificateRecord) -> dict[str, Any]:
    return {
        "serial": f"{found.serial_number:x}",
        "ca": found.ca,
        "status": found.status,
        "subject": found.subject,
        "profile": found.profile,
        "identity": found.identity,
        "device": found.device_id,
        "not_before": found.not_before.isoformat(),
        "not_after": found.not_after.isoformat(),
        "issued_at": found.issued_at.isoformat(),
        "request": found.request_id,
        "replaces": None if found.replaces is None else f"{found.replaces:x}",
    }


async def _by_serial(ledger: Ledger, serial: str) -> CertificateRecord:
    from est_server.errors import Malformed, NotFound

    try:
        number = int(serial.replace(":", ""), 16)
    except ValueError as error:
        raise Malformed("serial.invalid", f"{serial!r} is not hexadecimal") from error
    found = await ledger.certificates(serial_number=number)
    if not found:
        raise NotFound("serial.unknown", f"no certificate has serial {serial}")
    return found[0]


@app.command("list")
def list_(
    device: Annotated[str | None, typer.Option()] = None,
    profile: Annotated[str | None, typer.Option()] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List certificates, newest first."""

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            found = await ledger.certificates(device_id=device, profile=profile, limit=limit)
            return [_as_dict(certificate) for certificate in found]

    found = run(work())
    keys = ("serial", "status", "subject", "profile", "not_after")
    rows = [tuple(key.upper() for key in keys), *(tuple(c[key] for key in keys) for c in found)]
    show(output, found, rows)


@app.command("show")
def show_(serial: str, config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Show one certificate by its serial number in hexadecimal."""

    async def work() -> dict[str, Any]:
        async with opened(config) as (_, ledger):
            return _as_dict(await _by_serial(ledger, serial))

    show(output, run(work()))


@app.command()
def export(
    serial: str,
    form: Annotated[Literal["pem", "der"], typer.Option("--format")] = "pem",
    config: ConfigOption = SERVER_YAML,
) -> None:
    """Write one certificate to standard output."""

    async def work() -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        from est_server.errors import NotFound

        async with opened(config) as (_, ledger):
            found = await _by_serial(ledger, serial)
            if found.der is None:
                raise NotFound("certificate.presumed", "nobody has seen this certificate")
            encoding = Encoding.PEM if form == "pem" else Encoding.DER
            return x509.load_der_x509_certificate(found.der).public_bytes(encoding)

    sys.stdout.buffer.write(run(work()))


def why(
    identifier: Annotated[
        str, typer.Argument(metavar="ID", help="decision, request, serial, device")
    ],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Tell why something was issued or refused: est-server why d_06h0nq0sw135w641gea4y645kv."""

    async def work() -> list[dict[str, Any]]:
        from est_server.errors import NotFound

        async with opened(config) as (configuration, ledger):
            found = await _decisions(ledger, identifier)
            if not found:
                hint = "give a decision (d_…), a request (r_…), a serial number or a device"
                raise NotFound("decision.unknown", f"nothing is known of {identifier}", hint=hint)
            from hashlib import sha256

            today = {
                name: sha256(text.encode()).hexdigest()
                for name, (_, text, _) in configuration.profiles.items()
            }
            return [_decision_dict(decision, today) for decision in found]

    found = run(work())
    if output == "json":
        show(output, found)
        return
    for decision in found:
        _print(decision)


async def _decisions(ledger: Ledger, identifier: str) -> list[DecisionRecord]:
    if identifier.startswith("d_"):
        return list(await ledger.decisions(decision_id=identifier))
    if identifier.startswith("r_"):
        return list(await ledger.decisions(request_id=identifier))
    found = list(await ledger.decisions(identity=identifier))
    if found:
        return found
    try:
        certificate = await _by_serial(ledger, identifier)
    except Exception as error:
        if type(error).__name__ in {"Malformed", "NotFound"}:
            return []
        raise
    return list(await ledger.decisions(request_id=certificate.request_id))


def _decision_dict(decision: DecisionRecord, today: dict[str, str]) -> dict[str, Any]:
    return {
        "decision": decision.id,
        "request": decision.request_id,
        "at": decision.at.isoformat(),
        "verdict": decision.verdict,
        "rule": decision.rule,
        "message": decision.message,
        "operation": decision.operation,
        "label": decision.label,
        "identity": decision.identity,
        "profile": decision.profile,
        "profile_digest": decision.profile_digest,
        "profile_changed_since": today.get(decision.profile) != decision.profile_digest,
        "serial": None if decision.serial_number is None else f"{decision.serial_number:x}",
        **json.loads(decision.trace),
    }


def _print(decision: dict[str, Any]) -> None:
    changed = ", changed since" if decision["profile_changed_since"] else ""
    print(f"{decision['decision']}  {decision['verdict']}  {decision['at']}")
    print(f"  {decision['operation']} by {decision['identity'] or 'nobody known'}")
    print(f"  profile {decision['profile']}@{decision['profile_digest'][:12]}{changed}")
    if decision["serial"]:
        print(f"  certificate {decision['serial']}")
    print_gates(decision["gates"])


def print_gates(gates: list[dict[str, Any]]) -> None:
    """Print each gate: its mark, rule, detail and the line that decided."""
    marks = {True: "✓", False: "✗", None: "–"}
    for gate in gates:
        at = f"  [{gate['at']}]" if gate["at"] else ""
        print(f"  {marks[gate['ok']]} {gate['rule']}: {gate['detail']}{at}")

"""The cert commands."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from est_server.cli.cert_revoke import event_dict, release, revoke
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, duration, opened
from est_server.cli.output import iso, show, show_list

if TYPE_CHECKING:
    from datetime import timedelta

    from est_server.ports.ledger import CertificateRecord, Ledger

app = command_group("Certificates in the ledger: list, show, export, revoke, release.")
app.command()(revoke)
app.command()(release)

SerialArgument = Annotated[str, typer.Argument(help="Serial number in hexadecimal, like 4f:0a….")]
_PAGE = 500


def certificate_dict(found: CertificateRecord) -> dict[str, Any]:
    """Return a certificate of the ledger in JSON's types."""
    return {
        "serial": f"{found.serial_number:x}",
        "ca": found.ca,
        "status": found.status,
        "subject": found.subject,
        "profile": found.profile,
        "identity": found.identity,
        "device": found.device_id,
        "not_before": iso(found.not_before),
        "not_after": iso(found.not_after),
        "issued_at": iso(found.issued_at),
        "request": found.request_id,
        "replaces": None if found.replaces is None else f"{found.replaces:x}",
        "revoked_at": iso(found.revoked_at),
        "revocation_reason": found.revocation_reason,
        "invalidity_date": iso(found.invalidity_date),
        "crl_shard": found.crl_shard,
    }


def serial_number(text: str) -> int | None:
    """Return the number behind hexadecimal digits, with colons or without; None for other text."""
    digits = text.replace(":", "")
    hexadecimal = digits.isascii() and digits.isalnum() and len(digits) <= 40
    try:
        return int(digits, 16) if hexadecimal else None
    except ValueError:
        return None


async def by_serial(ledger: Ledger, text: str, ca: str | None = None) -> list[CertificateRecord]:
    """Return the certificates with a serial number, one of each CA that used it.

    Raises:
        Malformed: ``serial.invalid``.
        NotFound: ``serial.unknown``.
    """
    from est_server.errors import Malformed, NotFound

    number = serial_number(text)
    if number is None:
        raise Malformed("serial.invalid", f"{text!r} is no serial number in hexadecimal")
    found = [one for one in await ledger.certificates(serial_number=number) if ca in {None, one.ca}]
    if not found:
        raise NotFound("serial.unknown", f"no certificate has serial {text}")
    return found


@app.command("list")
def list_(
    device: Annotated[str | None, typer.Option(metavar="ID", help="Only of this device.")] = None,
    profile: Annotated[str | None, typer.Option(help="Only of this profile.")] = None,
    status: Annotated[
        Literal["good", "held", "revoked", "presumed"] | None,
        typer.Option(help="Only in this status."),
    ] = None,
    expiring: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Only those that end within, like 30d.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=10000)] = 100,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """List certificates, newest first.

    JSON: [{"serial", "ca", "status", "subject", "profile", "identity", "device", "not_before",
    "not_after", "issued_at", "request", "replaces", "revoked_at", "revocation_reason",
    "invalidity_date", "crl_shard"}].

    Example: est-server cert list --expiring 30d --status good
    """
    span = None if expiring is None else duration(expiring, "--expiring")

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            wanted = {"device_id": device, "profile": profile, "status": status}
            found = await _matching(ledger, wanted, span, limit)
            return [certificate_dict(certificate) for certificate in found]

    found = asyncio.run(work())
    show_list(output, found, ("serial", "status", "subject", "profile", "device", "not_after"))


async def _matching(
    ledger: Ledger, wanted: dict[str, Any], span: timedelta | None, limit: int
) -> list[CertificateRecord]:
    """Return the newest that match; with `span`, those that are still valid and end within it."""
    if span is None:
        return list(await ledger.certificates(**wanted, limit=limit))
    from est_server.app.clock import system_clock

    now = system_clock()
    found: list[CertificateRecord] = []
    after = None
    while len(found) < limit:
        page = await ledger.certificates(
            **wanted, expires_before=now + span, limit=_PAGE, after=after
        )
        found += [certificate for certificate in page if certificate.not_after > now]
        if len(page) < _PAGE:
            break
        after = (page[-1].issued_at, page[-1].serial_number)
    return found[:limit]


@app.command("show")
def show_(
    serial: SerialArgument, config: ConfigOption = SERVER_YAML, output: OutputOption = "table"
) -> None:
    """Show one certificate.

    JSON: as list, with "issuer", "subject_alternative_names", "key_algorithm" and "fingerprint";
    these are null where nobody has seen the certificate (status presumed). "superseded_from" and
    "superseded_by" are when it is revoked, and the request of the certificate in its place;
    "events" is what revoke and release did (as `cert revoke` tells it).

    Example: est-server cert show 4f0a…
    """

    async def work() -> dict[str, Any]:
        async with opened(config) as (_, ledger):
            found, *_ = await by_serial(ledger, serial)
            events = await ledger.revocations.events(serial_number=found.serial_number)
            planned = await ledger.supersessions.of_certificate(found.ca, found.serial_number)
            return {
                **certificate_dict(found),
                **_content(found.der),
                "superseded_from": iso(planned[0].plan.due_at) if planned else None,
                "superseded_by": planned[0].request_id if planned else None,
                "events": [event_dict(event) for event in events if event.ca == found.ca],
            }

    found = asyncio.run(work())
    show(output, found, hidden=("events",))
    if output == "table" and found["events"]:
        print("\nrevocation")
        columns = ("sequence", "at", "action", "reason", "actor", "note")
        show_list(output, found["events"], columns)


def _content(der: bytes | None) -> dict[str, Any]:
    keys = ("issuer", "subject_alternative_names", "key_algorithm", "fingerprint")
    if der is None:
        return dict.fromkeys(keys)
    from cryptography import x509

    from est_server.pki.authority import fingerprint
    from est_server.pki.names import general_name_text, name_text
    from est_server.wire.keys import key_algorithm

    certificate = x509.load_der_x509_certificate(der)
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        texts = [general_name_text(name) for name in names]
    except x509.ExtensionNotFound:
        texts = []
    algorithm = key_algorithm(certificate.public_key())
    values = (name_text(certificate.issuer), texts, algorithm, fingerprint(certificate))
    return dict(zip(keys, values, strict=True))


@app.command()
def export(
    serial: SerialArgument,
    form: Annotated[
        Literal["pem", "der"], typer.Option("--format", help="The chain is PEM only.")
    ] = "pem",
    chain: Annotated[
        bool, typer.Option("--chain", help="With the CA's certificates, up to the root.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
) -> None:
    """Write one certificate to standard output.

    Example: est-server cert export 4f0a… --chain > device.pem
    """
    if chain and form == "der":
        raise typer.BadParameter("DER holds one certificate", param_hint="--chain")

    async def work() -> bytes:
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        from est_server.app.authorities import open_authorities
        from est_server.errors import NotFound

        async with opened(config) as (configuration, ledger):
            found, *_ = await by_serial(ledger, serial)
            if found.der is None:
                raise NotFound("certificate.presumed", "nobody has seen this certificate")
            if form == "der":
                return found.der
            certificates = [x509.load_der_x509_certificate(found.der)]
            if chain:
                authorities = await open_authorities(configuration, await ledger.rollovers.all())
                if found.ca not in authorities:
                    hint = "it was renamed or removed; export without --chain"
                    raise NotFound("ca.unknown", f"there is no CA {found.ca!r}", hint=hint)
                above = authorities[found.ca].certificates()
                certificates += [above.issuer, *above.chain]
            return b"".join(one.public_bytes(Encoding.PEM) for one in certificates)

    sys.stdout.buffer.write(asyncio.run(work()))
    sys.stdout.buffer.flush()

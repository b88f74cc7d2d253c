"""The command that asks a compact set, as a device without a network does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.options import OutputOption
from est_server.cli.output import iso, show

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.ports.ledger import Ledger
    from est_server.revocation.checker import Finding


def check(
    compact_set: Annotated[Path, typer.Argument(metavar="SET", help="As fetched: issuing.set.")],
    certificate: Annotated[Path, typer.Argument(metavar="CERT", help="PEM.")],
    issuer: Annotated[Path, typer.Option(metavar="PEM", help="The CA's certificate.")],
    least_number: Annotated[
        int, typer.Option(metavar="N", help="The highest number that was seen before.")
    ] = 0,
    output: OutputOption = "table",
) -> None:
    """Tell whether a certificate is good by a compact set and its CA's certificate alone.

    Asks no server and no ledger. Exit code 0: good; 1: revoked, not covered, or a set that can't be
    believed. JSON: {"serial", "answer", "number", "this_update", "next_update", "certificates",
    "not_good"}; "answer" is good, revoked or not-covered.

    Example: est-server crl check issuing.set device.pem --issuer ca/issuing.pem
    """
    from cryptography.exceptions import InvalidSignature

    from est_server.app.clock import system_clock
    from est_server.errors import Malformed
    from est_server.revocation.checker import check_set
    from est_server.wire.compact_set import read_compact_set

    ca, asked, der = _pem(issuer), _pem(certificate), compact_set.read_bytes()
    for finding in check_set(der, ca, system_clock()):
        raise Malformed(finding.rule, finding.message, hint="fetch a newer set")
    found = read_compact_set(der)
    if found.number < least_number:
        text = f"its number is {found.number}, and {least_number} was seen before"
        raise Malformed("compact-set.old", text, hint="fetch a newer set")
    try:
        asked.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature) as error:
        text = f"{certificate} is not from the CA of {issuer}"
        raise Malformed("certificate.issuer", text) from error
    answer = found.answer(
        asked.serial_number, asked.not_valid_before_utc, asked.not_valid_after_utc
    )
    told: dict[str, Any] = {
        "serial": f"{asked.serial_number:x}",
        "answer": answer,
        "number": found.number,
        "this_update": iso(found.this_update),
        "next_update": iso(found.next_update),
        "certificates": found.certificates,
        "not_good": found.not_good,
    }
    show(output, told)
    raise typer.Exit(OK if answer == "good" else REFUSED)


async def set_findings(ledger: Ledger, ca: str, certificate: x509.Certificate) -> list[Finding]:
    """Return what is wrong with the compact set that is published for a CA."""
    from est_server.app.clock import system_clock
    from est_server.ports.crl import COMPACT
    from est_server.revocation.checker import Finding, check_set

    found = await ledger.crls.crl_der(ca, COMPACT, "compact")
    if found is None:
        return [Finding("compact-set.missing", "nothing is published yet")]
    return list(check_set(found[1], certificate, system_clock()))


def _pem(path: Path) -> x509.Certificate:
    from cryptography import x509

    from est_server.errors import Malformed

    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise Malformed("certificate.encoding", f"{path} is no PEM certificate") from error

"""The ocsp commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.pki.ocsp_check import CheckedStatus

app = command_group("The status of certificates, as relying parties are told it: query.")

_SKEW_SECONDS = 300
_TIMEOUT = 20.0
_LONGEST_ANSWER = 1 << 20


@app.callback()
def _group() -> None:
    """Make room for further commands."""


@app.command()
def query(
    certificate: Annotated[
        str, typer.Argument(metavar="SERIAL|CERT", help="Serial in hexadecimal, or a file.")
    ],
    url: Annotated[
        str | None, typer.Option(help="Of the responder; by default the certificate says it.")
    ] = None,
    issuer: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM of the CA; by default one of ours.")
    ] = None,
    sha256: Annotated[
        bool, typer.Option("--sha256", help="Name the issuer by SHA-256, not by SHA-1.")
    ] = False,
    nonce: Annotated[
        bool, typer.Option("--nonce", help="Ask for an answer that was made for this question.")
    ] = False,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Ask a responder for a certificate's status, and check that its answer may be believed.

    Exit code 0: good; 1: revoked, unknown, or an answer that can't be believed; 4: no answer.
    JSON: {"serial", "status", "revocation_time", "revocation_reason", "produced_at",
    "this_update", "next_update", "responder", "url"}.

    Example: est-server ocsp query device.pem
    """
    asked = asyncio.run(_question(certificate, url, issuer, config))
    serial, authority, where = asked
    found = _ask(serial, authority, where, sha256=sha256, nonce=nonce)
    show(output, {"serial": f"{serial:x}", **_as_dict(found), "url": where})
    raise typer.Exit(OK if found.status == "good" else REFUSED)


async def _question(
    text: str, url: str | None, issuer: Path | None, config: Path
) -> tuple[int, x509.Certificate, str]:
    """Return the serial number, the issuer's certificate and the responder's URL."""
    from est_server.cli.cert import serial_number
    from est_server.errors import Malformed, NotFound

    path = Path(text)
    leaf = _certificate(path) if path.is_file() else None
    serial = leaf.serial_number if leaf is not None else serial_number(text)
    if serial is None:
        raise Malformed("serial.invalid", f"{text!r} is no file and no serial in hexadecimal")
    authority = None if issuer is None else _certificate(issuer)
    where = url or (None if leaf is None else _pointer(leaf))
    if authority is None or where is None:
        ours, public = await _ours(config, serial, leaf)
        authority, where = authority or ours, where or public
    if authority is None:
        raise NotFound("ocsp.issuer", "no CA here issued it", hint="name its CA with --issuer")
    if where is None:
        raise NotFound("ocsp.url", "it names no responder", hint="name one with --url")
    return serial, authority, where


async def _ours(
    config: Path, serial: int, leaf: x509.Certificate | None
) -> tuple[x509.Certificate | None, str | None]:
    """Return which of our CAs issued a certificate, and where our responder is."""
    from est_server.app.authorities import open_authorities
    from est_server.web.ocsp import PATH

    async with opened(config) as (configuration, ledger):
        rows = await ledger.certificates(serial_number=serial)
        cas = await open_authorities(configuration)
        issuers = {name: ca.certificates().issuer for name, ca in cas.items()}
        for ca in cas.values():
            await ca.close()
        public = configuration.server.listeners.public
        where = None if public is None else public.url.rstrip("/") + PATH
    if rows:
        return issuers.get(rows[0].ca), where
    if leaf is not None:
        fitting = [one for one in issuers.values() if one.subject == leaf.issuer]
        return (fitting[0] if fitting else None), where
    return (next(iter(issuers.values())) if len(issuers) == 1 else None), where


def _ask(
    serial: int, issuer: x509.Certificate, url: str, *, sha256: bool, nonce: bool
) -> CheckedStatus:
    import secrets
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import ocsp

    from est_server.app.clock import system_clock
    from est_server.pki.ocsp import issuer_keys
    from est_server.pki.ocsp_check import check_response

    algorithm = hashes.SHA256() if sha256 else hashes.SHA1()  # noqa: S303 - what RFC 5019 2.1.1 names issuers by
    names = {name: (subject, key) for name, subject, key in issuer_keys(issuer)}
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        *names[algorithm.name], serial, algorithm
    )
    if nonce:
        builder = builder.add_extension(x509.OCSPNonce(secrets.token_bytes(32)), critical=False)
    request = builder.build()
    answer = _post(url, request.public_bytes(Encoding.DER))
    skew = timedelta(seconds=_SKEW_SECONDS)
    return check_response(answer, request, issuer, now=system_clock(), skew=skew)


def _post(url: str, body: bytes) -> bytes:
    """Return a responder's answer.

    Raises:
        Malformed: ``ocsp.url``.
        BackendUnavailable: ``ocsp.unreachable``.
    """
    import http.client
    import urllib.error
    import urllib.request

    from est_server.errors import BackendUnavailable, Malformed

    if not url.startswith(("http://", "https://")):
        raise Malformed("ocsp.url", f"{url!r} is no URL like http://pki.example.net/ocsp")
    headers = {"Content-Type": "application/ocsp-request", "Connection": "close"}
    try:
        asked = urllib.request.Request(url, body, headers)  # noqa: S310 - checked above
        with urllib.request.urlopen(asked, timeout=_TIMEOUT) as answer:  # noqa: S310 - likewise
            found: bytes = answer.read(_LONGEST_ANSWER)
    except (OSError, ValueError, http.client.HTTPException) as error:
        text = f"no answer from {url}: {getattr(error, 'reason', None) or error}"
        raise BackendUnavailable("ocsp.unreachable", text, hint="is the server running?") from error
    return found


def _certificate(path: Path) -> x509.Certificate:
    """Return the certificate in a file, PEM or DER.

    Raises:
        Malformed: ``certificate.encoding``.
    """
    from cryptography import x509

    from est_server.errors import Malformed

    data = path.read_bytes()
    try:
        if b"-----BEGIN" in data:
            return x509.load_pem_x509_certificate(data)
        return x509.load_der_x509_certificate(data)
    except ValueError as error:
        raise Malformed("certificate.encoding", f"{path} holds no certificate") from error


def _pointer(certificate: x509.Certificate) -> str | None:
    """Return where a certificate says that its status is told (RFC 5280 4.2.2.1)."""
    from cryptography import x509
    from cryptography.x509.oid import AuthorityInformationAccessOID

    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess)
    except x509.ExtensionNotFound:
        return None
    for entry in access.value:
        location = entry.access_location
        if entry.access_method == AuthorityInformationAccessOID.OCSP and isinstance(
            location, x509.UniformResourceIdentifier
        ):
            return location.value
    return None


def _as_dict(found: CheckedStatus) -> dict[str, Any]:
    from est_server.pki.names import name_text

    reason = found.revocation_reason
    return {
        "status": found.status,
        "revocation_time": iso(found.revocation_time),
        "revocation_reason": None if reason is None else reason.value,
        "produced_at": iso(found.produced_at),
        "this_update": iso(found.this_update),
        "next_update": iso(found.next_update),
        "responder": name_text(found.responder.subject),
    }

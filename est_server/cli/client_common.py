"""What the client commands share: options, the connection, and the files that they leave."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from est_server.cli.output import show

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.cli.est_client import EstClient

UrlOption = Annotated[str, typer.Option(help="The server, like https://est.example.net:8443.")]
LabelOption = Annotated[str | None, typer.Option(help="The profile's label in the URL.")]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", "--cacert", metavar="FILE", help="Trust anchors, PEM."),
]
FingerprintOption = Annotated[
    str | None, typer.Option(metavar="SHA256", help="Of a trust anchor, as init printed it.")
]
OutOption = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where files are written.")]


def client_for(
    url: str,
    label: str | None,
    root: Path | None,
    fingerprint: str | None,
    *,
    certificate: tuple[Path, Path] | None = None,
    basic: tuple[str, str] | None = None,
) -> EstClient:
    """Return the client of a server that is trusted explicitly."""
    from est_server.cli.est_client import EstClient, anchors_of, trusting
    from est_server.cli.est_exchange import target

    if (root is None) == (fingerprint is None):
        # RFC 7030 3.6: without an explicit anchor nobody knows who answers
        raise typer.BadParameter("give one of --root and --fingerprint")
    where = target(url, label)
    anchors = anchors_of(where, root, fingerprint)
    return EstClient(where, trusting(anchors, certificate), basic)


def subject_of(subject: str | None, username: str | None) -> x509.Name:
    """Return the subject of a request: as given, else the user name, else nothing."""
    from cryptography import x509

    try:
        return x509.Name.from_rfc4514_string(subject) if subject is not None else named(username)
    except ValueError as error:
        raise typer.BadParameter("write CN=SN-0001,O=Example", param_hint="--subject") from error


def basic_of(
    username: str | None, password: str | None, *, password_stdin: bool
) -> tuple[str, str] | None:
    """Return user name and password, read from standard input if asked for."""
    if password is not None and password_stdin:
        raise typer.BadParameter("give one of --password and --password-stdin")
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    if (username is None) != (password is None):
        raise typer.BadParameter("give a --username and a password, or neither")
    return None if username is None or password is None else (username, password)


def named(username: str | None) -> x509.Name:
    """Return a subject with a common name, or an empty one."""
    from cryptography import x509

    if username is None:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, username)])


def keep(
    output: str, client: EstClient, issued: x509.Certificate, out: Path, key_file: Path
) -> None:
    """Write certificate and CA certificates beside the key, and show the outcome."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.cli.ca import certificate_dict

    (out / "cert.pem").write_bytes(issued.public_bytes(Encoding.PEM))
    above = [x509.load_der_x509_certificate(der) for der in client.ca_certificates()]
    (out / "ca.pem").write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in above))
    value = {
        **certificate_dict(issued),
        "key": str(key_file),
        "certificate": str(out / "cert.pem"),
        "ca": str(out / "ca.pem"),
    }
    show(output, value)

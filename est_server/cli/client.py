"""The client commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.client_common import (
    FingerprintOption,
    LabelOption,
    OutOption,
    RootOption,
    UrlOption,
    basic_of,
    client_for,
    keep,
    subject_of,
)
from est_server.cli.client_serverkeygen import serverkeygen
from est_server.cli.lazy import command_group
from est_server.cli.options import OutputOption
from est_server.cli.output import show, show_list

if TYPE_CHECKING:
    from cryptography import x509

    from est_server.cli.est_client import EstClient

app = command_group(
    "An EST client, for tests and for devices that have none: cacerts, csrattrs, enroll, reenroll, "
    "serverkeygen."
)

app.command()(serverkeygen)


@app.command()
def cacerts(
    url: UrlOption,
    label: LabelOption = None,
    root: RootOption = None,
    fingerprint: FingerprintOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write them there, PEM.")
    ] = None,
    output: OutputOption = "table",
) -> None:
    """Fetch the CA's certificates (RFC 7030 4.1).

    JSON: [{"subject", "serial", "not_before", "not_after", "fingerprint", "pem"}].

    Example: est-server client cacerts --url https://localhost:8443 --fingerprint 70:2A:…
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.cli.ca import certificate_dict

    client = client_for(url, label, root, fingerprint)
    found = [x509.load_der_x509_certificate(der) for der in client.ca_certificates()]
    if out is not None:
        out.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in found))
    values = [
        {**certificate_dict(one), "pem": one.public_bytes(Encoding.PEM).decode()} for one in found
    ]
    show_list(output, values, ("subject", "not_after", "fingerprint"))


@app.command()
def csrattrs(
    url: UrlOption,
    label: LabelOption = None,
    root: RootOption = None,
    fingerprint: FingerprintOption = None,
    output: OutputOption = "table",
) -> None:
    """Ask what the server wants to see in a CSR (RFC 7030 4.5).

    JSON: {"key", "extensions": [OIDs], "channel_binding", "der"}; "der" is base64, null for none.

    Example: est-server client csrattrs --url https://localhost:8443 --root pki/ca/root.pem
    """
    import base64

    from est_server.cli.client_request import wishes

    der = client_for(url, label, root, fingerprint).csr_attributes()
    found = wishes(der)
    value = {
        "key": found.key,
        "extensions": [extension.oid.dotted_string for extension in found.extensions],
        "channel_binding": found.channel_binding,
        "der": None if der is None else base64.b64encode(der).decode(),
    }
    show(output, value)


@app.command()
def enroll(
    url: UrlOption,
    out: OutOption,
    label: LabelOption = None,
    username: Annotated[str | None, typer.Option(help="Of the credential.")] = None,
    password: Annotated[
        str | None, typer.Option(help="Of the credential; others on this host can see it.")
    ] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    client_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The manufacturer's certificate, PEM.")
    ] = None,
    client_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    root: RootOption = None,
    fingerprint: FingerprintOption = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Use this key; without it one is made.")
    ] = None,
    key_type: Annotated[
        str | None, typer.Option(help="Of a new key; without it what the server wishes.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option(help="RFC 4514, like CN=SN-0001; without it the user name.")
    ] = None,
    san: Annotated[
        list[str] | None, typer.Option(help="dns:…, ip:…, email:… or uri:…; repeatable.")
    ] = None,
    output: OutputOption = "table",
) -> None:
    """Make a key and a CSR as the server wishes, and obtain a certificate (RFC 7030 4.2.1).

    Writes key.pem (0600), cert.pem and ca.pem into DIR; nothing is overwritten. If the answer is
    lost or has to wait, ask again with --key DIR/key.pem: the same key gets the same certificate.
    Exit code 1 if the server refuses, 4 if it can't be reached, is not trusted or wants to be
    asked later. JSON: {"subject", "serial", "not_before", "not_after", "fingerprint", "key",
    "certificate", "ca"}.

    Example: est-server client enroll --url https://localhost:8443 --root pki/ca/root.pem
    --username SN-0001 --password-stdin --out dev/
    """
    from est_server.cli import client_request as request

    if (client_cert is None) != (client_key is None):
        raise typer.BadParameter("give both --client-cert and --client-key, or neither")
    basic = basic_of(username, password, password_stdin=password_stdin)
    certificate = None if client_cert is None or client_key is None else (client_cert, client_key)
    name = subject_of(subject, username)
    names = request.alternative_names(san or ())
    key_file = key or out / "key.pem"
    request.refuse_existing(out / "cert.pem", out / "ca.pem", *(() if key else (key_file,)))
    client = client_for(url, label, root, fingerprint, certificate=certificate, basic=basic)
    wished = _wishes(client)
    made = _key(key, key_type or wished.key)
    out.mkdir(parents=True, exist_ok=True)
    if key is None:
        request.write_key(key_file, made)
    csr = request.make_csr(made, name, names, wished.extensions)
    issued = _obtain(client, "simpleenroll", csr, made, None if key else key_file)
    keep(output, client, issued, out, key_file)


@app.command()
def reenroll(
    url: UrlOption,
    out: OutOption,
    cert: Annotated[Path, typer.Option(metavar="FILE", help="The current certificate, PEM.")],
    key: Annotated[Path, typer.Option(metavar="FILE", help="Its key, PEM.")],
    label: LabelOption = None,
    root: RootOption = None,
    fingerprint: FingerprintOption = None,
    same_key: Annotated[
        bool, typer.Option("--same-key", help="Keep the key; without it a new one is made.")
    ] = False,
    output: OutputOption = "table",
) -> None:
    """Renew a certificate with itself: the same names, by default a new key (RFC 7030 4.2.2).

    Files, exit codes and JSON as for enroll.

    Example: est-server client reenroll --url https://localhost:8443 --root pki/ca/root.pem
    --cert dev/cert.pem --key dev/key.pem --out dev/next
    """
    from cryptography import x509

    from est_server.cli import client_request as request
    from est_server.errors import Malformed
    from est_server.wire.keys import key_algorithm

    try:
        current = x509.load_pem_x509_certificate(cert.read_bytes())
    except ValueError as error:
        raise Malformed("client.certificate", f"{cert} is no PEM certificate") from error
    key_file = key if same_key else out / "key.pem"
    request.refuse_existing(out / "cert.pem", out / "ca.pem", *(() if same_key else (key_file,)))
    client = client_for(url, label, root, fingerprint, certificate=(cert, key))
    wished = _wishes(client)
    made = _key(key if same_key else None, key_algorithm(current.public_key()))
    out.mkdir(parents=True, exist_ok=True)
    if not same_key:
        request.write_key(key_file, made)
    try:
        names = list(current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    # RFC 7030 4.2.2: subject and alternative names identical to the current certificate's
    csr = request.make_csr(made, current.subject, names, wished.extensions)
    issued = _obtain(client, "simplereenroll", csr, made, None if same_key else key_file)
    keep(output, client, issued, out, key_file)


def _wishes(client: EstClient) -> Any:
    from est_server.cli.client_request import wishes
    from est_server.errors import Denied

    found = wishes(client.csr_attributes())
    if found.channel_binding:
        raise Denied(
            "client.channel-binding",
            "the server requires a CSR that is bound to its TLS connection",
            hint="this client can't do that; use one that can, such as libest",
        )
    return found


def _key(path: Path | None, algorithm: str | None) -> Any:
    from est_server.cli.client_request import load_key
    from est_server.pki.keys import KEY_ALGORITHMS, generate_key

    if path is not None:
        return load_key(path)
    wanted = algorithm or "EC-P256"
    if wanted not in KEY_ALGORITHMS:
        text = f"{wanted!r} is not one of {', '.join(KEY_ALGORITHMS)}"
        raise typer.BadParameter(text, param_hint="--key-type")
    return generate_key(wanted)


def _obtain(
    client: EstClient, operation: str, csr: bytes, key: Any, new_key_file: Path | None
) -> x509.Certificate:
    """Return the certificate; a new key that was refused is removed, one that may wait is kept."""
    from est_server.cli.client_request import own_certificate
    from est_server.errors import Denied, NotFound, Unauthenticated

    try:
        found = client.enroll(operation, csr)
    except (Denied, NotFound, Unauthenticated):
        if new_key_file is not None:
            new_key_file.unlink(missing_ok=True)
        raise
    return own_certificate(found, key)

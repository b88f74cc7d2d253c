"""The client serverkeygen command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
from est_server.cli.options import OutputOption


def serverkeygen(
    url: UrlOption,
    out: OutOption,
    label: LabelOption = None,
    username: Annotated[str | None, typer.Option(help="Of the credential.")] = None,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password from standard input.")
    ] = False,
    client_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A certificate to ask with, PEM.")
    ] = None,
    client_key: Annotated[Path | None, typer.Option(metavar="FILE", help="Its key, PEM.")] = None,
    root: RootOption = None,
    fingerprint: FingerprintOption = None,
    key_type: Annotated[str, typer.Option(help="What to wish for.")] = "EC-P256",
    subject: Annotated[
        str | None, typer.Option(help="RFC 4514, like CN=SN-0001; without it the user name.")
    ] = None,
    san: Annotated[
        list[str] | None, typer.Option(help="dns:…, ip:…, email:… or uri:…; repeatable.")
    ] = None,
    for_cert: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Encrypt the key for this certificate of ours, PEM."),
    ] = None,
    for_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its key, which opens the answer, PEM.")
    ] = None,
    secret_id: Annotated[
        str | None,
        typer.Option(metavar="KEY_ID", help="Encrypt it with this secret key: text, or hex:…"),
    ] = None,
    secret_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The secret key, in hexadecimal.")
    ] = None,
    output: OutputOption = "table",
) -> None:
    """Let the server make a key, and obtain it with its certificate (RFC 7030 4.4).

    Files, exit codes and JSON as for enroll. Every time it is asked the server makes another key.

    Example: est-server client serverkeygen --url https://localhost:8443 --root pki/ca/root.pem
    --username SN-0001 --password-stdin --secret-id factory --secret-file kek.hex --out dev/
    """
    from est_server.cli import client_keygen as keygen
    from est_server.cli import client_request as request
    from est_server.pki.keys import KEY_ALGORITHMS

    pairs = ((client_cert, client_key), (for_cert, for_key), (secret_id, secret_file))
    if any((one is None) != (other is None) for one, other in pairs):
        raise typer.BadParameter("a certificate goes with its key, an identifier with its file")
    if for_cert is not None and secret_id is not None:
        raise typer.BadParameter("give one of --for-cert and --secret-id")
    if key_type not in KEY_ALGORITHMS:
        text = f"{key_type!r} is not one of {', '.join(KEY_ALGORITHMS)}"
        raise typer.BadParameter(text, param_hint="--key-type")
    basic = basic_of(username, None, password_stdin=password_stdin)
    certificate = None if client_cert is None or client_key is None else (client_cert, client_key)
    names = request.alternative_names(san or ())
    key_file = out / "key.pem"
    request.refuse_existing(out / "cert.pem", out / "ca.pem", key_file)
    protection = keygen.Protection()
    if for_cert is not None and for_key is not None:
        protection = keygen.for_certificate(for_cert, for_key)
    elif secret_id is not None and secret_file is not None:
        protection = keygen.for_secret(secret_id, secret_file)
    client = client_for(url, label, root, fingerprint, certificate=certificate, basic=basic)
    csr = keygen.make_request(key_type, subject_of(subject, username), names, protection)
    parts, server_certificate = client.make_key(csr)
    key, issued = keygen.read_answer(parts, protection, server_certificate)
    out.mkdir(parents=True, exist_ok=True)
    request.write_key(key_file, key)
    keep(output, client, issued, out, key_file)

"""The ca commands for CAs whose keys are in tokens: init, install."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption
from est_server.cli.output import show

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from est_server.config.configuration import Configuration
    from est_server.ports.keystore import KeptKey

app = command_group("CAs in tokens.")


@app.command("init")
def init(
    name: Annotated[str, typer.Argument(help="Of the new CA in server.yaml.")],
    token: Annotated[
        str,
        typer.Option(metavar="URI", help="pkcs11:token=LABEL?module-path=/usr/lib/….so (RFC 7512)"),
    ],
    pin: Annotated[
        str, typer.Option(metavar="REF", help="Where its PIN is: file:PATH or env:NAME.")
    ],
    key: Annotated[
        str, typer.Option(metavar="ALGORITHM", help="EC-P256, EC-P384, RSA-2048 to RSA-4096.")
    ] = "EC-P256",
    root: Annotated[
        Literal["token", "file", "offline"],
        typer.Option(help="Where the root's key is; offline: somebody else's."),
    ] = "token",
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Make a CA's keys in a token, its certificates, and the section that server.yaml needs.

    server.yaml is not touched: paste what is printed below `cas:`. With --root offline there is a
    request to have signed in place of certificates; `ca install` takes what comes back. JSON:
    {"name", "settings", "root_fingerprint", "csr": PEM or null}.

    Example: est-server ca init hsm --token 'pkcs11:token=ca?module-path=/usr/lib/…' --pin env:PIN
    """
    from pydantic import TypeAdapter, ValidationError

    from est_server.app.clock import system_clock
    from est_server.cli.token_hierarchy import TokenWanted, made_in_token
    from est_server.config.configuration import load
    from est_server.config.server import Name
    from est_server.errors import Conflict
    from est_server.pki.authority import fingerprint

    try:
        TypeAdapter(Name).validate_python(name)
    except ValidationError as error:
        text = "lower-case letters, digits and hyphens"
        raise typer.BadParameter(text, param_hint="NAME") from error
    wanted = TokenWanted.of(token, pin, root, "--token")
    configuration = load(config)
    taken = [*(configuration.base / "ca").glob(f"{name}.*")]
    if name in configuration.ca_settings or taken:
        raise Conflict("ca.exists", f"there is a CA {name!r}, or a file of one: {taken}")
    base, now = configuration.base, system_clock()
    with made_in_token(base, wanted, key, name, now, f"{name}-root") as made:
        section = made.yaml(" " * 4)
    found = None if made.root is None else fingerprint(made.root)
    if output == "json":
        csr = None if made.csr is None else made.csr.decode()
        value = {"name": name, "settings": dict(made.settings), "root_fingerprint": found}
        show(output, {**value, "csr": csr})
        return
    print(f"# into server.yaml, below cas:\n  {name}:\n{section}", end="")
    if found is not None:
        print(f"# root fingerprint  {found}")
    else:
        print(f"# have ca/{name}.csr signed as a CA, then: est-server ca install {name} …")


@app.command("install")
def install(
    name: Annotated[str, typer.Argument(help="As server.yaml has it.")],
    certificate: Annotated[Path, typer.Argument(help="PEM: what was made of ca/NAME.csr.")],
    chain: Annotated[list[Path], typer.Argument(help="PEM: its issuer first, the root last.")],
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Put the certificate of a CA in place whose root is somebody else's.

    It must be for the key in the token, say that it is a CA's, and lead to a root. A server that
    `init --root offline` made gets its TLS certificate too. JSON: {"name", "fingerprint",
    "root_fingerprint", "files"}.

    Example: est-server ca install issuing issuing.pem root.pem
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.config.configuration import load
    from est_server.errors import Conflict, NotFound
    from est_server.pki.authority import Authority, fingerprint

    configuration = load(config)
    if name not in configuration.ca_settings:
        hint = f"known: {', '.join(configuration.ca_settings)}"
        raise NotFound("ca.unknown", f"there is no CA {name!r}", hint=hint)
    backend, settings = configuration.ca_settings[name]
    from est_server.ports.keystore import MakesKeys

    if not isinstance(backend, MakesKeys):
        raise typer.BadParameter(f"the key of {name} is in no token", param_hint="NAME")
    read = x509.load_pem_x509_certificate
    certificates = [read(path.read_bytes()) for path in (certificate, *chain)]
    targets = [configuration.base / path for path in (settings.certificate, *settings.chain)]
    if len(targets) != len(certificates):
        text = f"server.yaml names {len(targets)} files for {len(certificates)} certificates"
        raise Conflict("ca.chain", text, hint=f"correct cas.{name}.chain: a file for each")
    if there := [str(path) for path in targets if path.exists()]:
        raise Conflict("ca.exists", f"{', '.join(there)}: nothing was changed")
    with backend.kept(settings, configuration.base) as kept:
        _check(name, kept, certificates)
        tls = _tls(configuration, Authority(kept.key, certificates[0]))
    for path, one in zip(targets, certificates, strict=True):
        path.write_bytes(one.public_bytes(Encoding.PEM))
    files = [str(path) for path in targets]
    if tls is not None:
        path, pem = tls
        fresh = path.with_suffix(".new")
        fresh.write_bytes(pem)
        os.replace(fresh, path)  # noqa: PTH105 - at once
        files.append(str(path))
    value = {
        "name": name,
        "fingerprint": fingerprint(certificates[0]),
        "root_fingerprint": fingerprint(certificates[-1]),
        "files": files,
    }
    show(output, value)


def _check(name: str, kept: KeptKey, certificates: Sequence[x509.Certificate]) -> None:
    """Return if the certificates lead from the token's key to a root.

    Raises:
        Denied: ``ca.key``, ``ca.rights``, ``ca.chain``.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    from est_server.errors import Denied
    from est_server.pki.names import name_text

    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    own = certificates[0].public_key().public_bytes(*spki)
    if own != kept.key.public_key().public_bytes(*spki):
        raise Denied("ca.key", f"the certificate is for another key than that of {name}")
    for one in certificates:
        try:
            rights = one.extensions.get_extension_for_class(x509.BasicConstraints).value
            usage = one.extensions.get_extension_for_class(x509.KeyUsage).value
        except x509.ExtensionNotFound:
            rights = None
        if rights is None or not (rights.ca and usage.key_cert_sign and usage.crl_sign):
            text = f"{name_text(one.subject)} may not sign certificates and revocation lists"
            hint = "basicConstraints CA:TRUE, keyUsage keyCertSign and cRLSign (RFC 5280 4.2.1)"
            raise Denied("ca.rights", text, hint=hint)
    for one, issuer in zip(certificates, (*certificates[1:], certificates[-1]), strict=True):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
            text = f"{name_text(one.subject)} was not issued by {name_text(issuer.subject)}"
            raise Denied("ca.chain", text, hint="its issuer first, the root last") from error


def _tls(configuration: Configuration, issuing: Any) -> tuple[Path, bytes] | None:
    """Return the server's TLS certificate by its new CA, if it has a placeholder only."""
    from datetime import timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.app.clock import system_clock
    from est_server.cli.hierarchy import PLACEHOLDER
    from est_server.pki.authority import make_server_certificate

    path = configuration.base / configuration.server.listeners.est.certificate
    held = x509.load_pem_x509_certificates(path.read_bytes())[0]
    if not any(found.value == PLACEHOLDER for found in held.issuer):
        return None
    names = held.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    made = make_server_certificate(
        issuing,
        [str(found.value) for found in names],
        held.public_key(),
        lifetime=timedelta(days=397),
        now=system_clock(),
    )
    chain = (made, issuing.certificate)
    return path, b"".join(one.public_bytes(Encoding.PEM) for one in chain)

"""init, serve, doctor and version."""

from __future__ import annotations

import secrets
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from est_server.cli.output import REFUSED, SERVER_YAML, ConfigOption, OutputOption, run, show

_SERVER_YAML = """\
version: 1
listeners:
  est: {{listen: "{est}", certificate: tls/server.pem, key: "file:tls/server.key"}}
  public: {{listen: "{public}", url: "http://{name}:{public_port}"}}
  admin: {{listen: "{admin}", certificate: tls/server.pem, key: "file:tls/server.key"}}
cas:
  issuing:
    backend: soft                  # the key is on this disk; use a token for production
    certificate: ca/issuing.pem
    key: file:ca/issuing.key
    passphrase: file:secrets/ca.pass
    chain: [ca/root.pem]
state: {{ledger: "sqlite:///state/ledger.db", ephemeral: "memory:"}}
trust: {{}}                          # name: trust/manufacturer-roots.pem
profiles: profiles
credentials: {{key: "file:secrets/credentials.key"}}
"""


def shipped_profiles() -> Path:
    """Return the folder of the example profiles, installed or in a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "shipped_profiles"
    return installed if installed.is_dir() else package.parent / "profiles"


def init(
    directory: Annotated[
        Path, typer.Argument(help="a folder that does not exist yet, or is empty")
    ],
    dns: Annotated[list[str] | None, typer.Option(help="name or address of the server")] = None,
    est: Annotated[str, typer.Option(help="EST listener")] = "0.0.0.0:8443",
    public: Annotated[str, typer.Option(help="public listener")] = "0.0.0.0:8080",
    admin: Annotated[str, typer.Option(help="admin listener")] = "127.0.0.1:8444",
    key: Annotated[str, typer.Option(help="key algorithm of root and issuing CA")] = "EC-P256",
    interop: Annotated[bool, typer.Option("--interop", help="a lax profile, for tests")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="ask nothing")] = False,
) -> None:
    """Make a PKI, its configuration and its ledger: est-server init ./pki --dns localhost --yes."""
    names = dns or ["localhost", "127.0.0.1"]
    if directory.exists() and any(directory.iterdir()):
        print(f"error: {directory} is not empty; nothing was changed", file=sys.stderr)
        raise typer.Exit(REFUSED)
    if not yes and sys.stdin.isatty():
        typer.confirm(f"Make a root, an issuing CA and keys in {directory}?", abort=True)
    building = directory.with_name(directory.name + ".new")
    shutil.rmtree(building, ignore_errors=True)
    try:
        root_fingerprint = _build(building, names, (est, public, admin), key, interop=interop)
        if directory.exists():
            directory.rmdir()
        building.rename(directory)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    profile = "interop" if interop else "device"
    print(f"created  {directory}/server.yaml")
    print(f"created  {directory}/profiles/{profile}.yaml")
    print(f"created  {directory}/ca/root.pem  {directory}/ca/issuing.pem  ({key})")
    print(f"root fingerprint  {root_fingerprint}")
    print(f"next:  est-server serve -c {directory}/server.yaml")
    print("warning[soft-ca]: the CA keys are on this disk, encrypted with secrets/ca.pass")
    if interop:
        print("warning[interop]: this profile gives any name to anybody with a credential")


def _build(
    base: Path, names: list[str], addresses: tuple[str, str, str], algorithm: str, *, interop: bool
) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding

    from est_server.app import system_clock
    from est_server.pki import authority
    from est_server.pki.keys import KEY_ALGORITHMS, generate_key
    from est_server.storage.schema import upgrade_schema

    if algorithm not in KEY_ALGORITHMS:
        raise typer.BadParameter(f"known: {', '.join(KEY_ALGORITHMS)}", param_hint="--key")
    for folder in ("ca", "tls", "trust", "profiles", "secrets", "state"):
        (base / folder).mkdir(parents=True, mode=0o700)
    now = system_clock()
    year = timedelta(days=365)
    root = authority.make_root("est-server root", algorithm, lifetime=20 * year, now=now)
    issuing = authority.make_issuing(
        root, "est-server issuing CA", algorithm, lifetime=10 * year, now=now
    )
    tls_key = generate_key("EC-P256")
    tls = authority.make_server_certificate(
        issuing, names, tls_key.public_key(), lifetime=timedelta(days=397), now=now
    )
    passphrase = secrets.token_urlsafe(32).encode()
    pem = {
        "root": root.certificate.public_bytes(Encoding.PEM),
        "issuing": issuing.certificate.public_bytes(Encoding.PEM),
    }
    _write(base / "ca/root.pem", pem["root"], 0o644)
    _write(base / "ca/issuing.pem", pem["issuing"], 0o644)
    _write(base / "ca/root.key", authority.encrypt_key(root.key, passphrase))
    _write(base / "ca/issuing.key", authority.encrypt_key(issuing.key, passphrase))
    _write(base / "secrets/ca.pass", passphrase + b"\n")
    _write(base / "secrets/credentials.key", secrets.token_hex(32).encode() + b"\n")
    _write(base / "tls/server.pem", tls.public_bytes(Encoding.PEM) + pem["issuing"], 0o644)
    _write(base / "tls/server.key", authority.plain_key(tls_key))
    est, public, admin = addresses
    text = _SERVER_YAML.format(
        est=est, public=public, admin=admin, name=names[0], public_port=public.rpartition(":")[2]
    )
    _write(base / "server.yaml", text.encode(), 0o644)
    profile = "interop.yaml" if interop else "device.yaml"
    _write(base / "profiles" / profile, (shipped_profiles() / profile).read_bytes(), 0o644)
    upgrade_schema(base / "state/ledger.db")
    return authority.fingerprint(root.certificate)


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.touch(mode=mode)
    path.write_bytes(content)


def serve(
    config: ConfigOption = SERVER_YAML,
    auto_migrate: Annotated[
        bool, typer.Option("--auto-migrate", help="upgrade the ledger first; one node only")
    ] = False,
) -> None:
    """Run the server; SIGHUP reloads, SIGTERM stops: est-server serve -c pki/server.yaml."""
    from est_server.app import serve as run_server

    run_server(config, migrate=auto_migrate)


def version(output: OutputOption = "table") -> None:
    """Print the version."""
    from est_server import __version__

    show(output, {"version": __version__})


def doctor(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """Check what a server needs, with the next step: est-server doctor -c pki/server.yaml."""
    from est_server.cli.doctor import checks

    found = run(checks(config))
    failed = any(check["status"] == "fail" for check in found)
    rows = [(c["status"], c["check"], c["detail"]) for c in found]
    show(output, found, rows)
    raise typer.Exit(REFUSED if failed else 0)

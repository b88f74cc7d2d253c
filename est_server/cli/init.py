"""The init command: a hierarchy, a configuration and a ledger, all at once or not at all."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import OutputOption
from est_server.cli.output import show_json

if TYPE_CHECKING:
    from est_server.cli.hierarchy import Wanted

app = command_group("Make a PKI.")


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="New, or empty.")],
    dns: Annotated[
        list[str] | None,
        typer.Option(help="DNS name or IP address of the server; repeatable."),
    ] = None,
    est: Annotated[
        str, typer.Option(metavar="H:P", help="Where devices connect.")
    ] = "0.0.0.0:8443",
    public: Annotated[
        str, typer.Option(metavar="H:P", help="Where CA certificates are published.")
    ] = "0.0.0.0:8080",
    admin: Annotated[
        str, typer.Option(metavar="H:P", help="Health and metrics.")
    ] = "127.0.0.1:8444",
    interop: Annotated[
        bool, typer.Option("--interop", help="A lax profile for interop tests, not the strict one.")
    ] = False,
    key: Annotated[
        str, typer.Option(metavar="ALGORITHM", help="Of both CAs: EC-P256, RSA-3072, ML-DSA-65, …")
    ] = "EC-P256",
    ca_token: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="Keys in this token: pkcs11:token=LABEL?module-path=/usr/lib/….so (RFC 7512)",
        ),
    ] = None,
    ca_token_pin: Annotated[
        str | None, typer.Option(metavar="REF", help="Where its PIN is: file:PATH or env:NAME.")
    ] = None,
    root: Annotated[
        Literal["token", "file", "offline"],
        typer.Option(help="With --ca-token: where the root's key is; offline: somebody else's."),
    ] = "token",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing.")] = False,
    output: OutputOption = "table",
) -> None:
    """Make a root, an issuing CA, keys, a profile, a server.yaml and an empty ledger in DIR.

    Nothing is overwritten; an init that is interrupted leaves no DIR. JSON: {"directory",
    "files", "root_fingerprint" (null with --root offline), "key", "profile", "warnings": [{"code",
    "message"}]}.

    Examples: est-server init ./pki --dns est.example.net --yes

    est-server init ./pki --ca-token 'pkcs11:token=ca?module-path=/usr/lib/softhsm/libsofthsm2.so'
    --ca-token-pin file:/etc/est-server/pin --yes
    """
    from est_server.cli.hierarchy import Wanted, build

    if directory.is_symlink() or (
        directory.exists() and (not directory.is_dir() or any(directory.iterdir()))
    ):
        from est_server.errors import Conflict

        hint = "name a new folder; nothing was changed"
        raise Conflict("init.exists", f"{directory} is there and not empty", hint=hint)
    asks = not yes and sys.stdin.isatty()
    names = dns or ["localhost", "127.0.0.1"]
    if asks and not dns:
        answer = typer.prompt("Names or addresses of the server (--dns)", " ".join(names))
        names = answer.replace(",", " ").split() or names
    if asks:
        typer.confirm(f"Make a root and an issuing CA ({key}) in {directory}?", abort=True)
    token = None
    if ca_token is not None:
        from est_server.cli.token_hierarchy import TokenWanted

        token = TokenWanted.of(ca_token, ca_token_pin, root, "--ca-token")
    wanted = Wanted(tuple(names), est, public, admin, key, interop, token)
    wanted.check()
    directory.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", dir=directory.absolute().parent))
    try:
        fingerprint = build(building, wanted)
        files = sorted(
            str(directory / found.relative_to(building))
            for found in building.rglob("*")
            if found.is_file()
        )
        os.replace(building, directory)  # noqa: PTH105 - onto an empty folder too
    finally:
        shutil.rmtree(building, ignore_errors=True)
    _tell(output, directory, files, fingerprint, wanted)


def _tell(
    output: str, directory: Path, files: list[str], fingerprint: str | None, wanted: Wanted
) -> None:
    from est_server.cli.hierarchy import warnings_of

    warnings = warnings_of(wanted)
    if output == "json":
        show_json(
            {
                "directory": str(directory),
                "files": files,
                "root_fingerprint": fingerprint,
                "key": wanted.key,
                "profile": wanted.profile,
                "warnings": [{"code": code, "message": message} for code, message in warnings],
            }
        )
        return
    for file in files:
        print(f"created  {file}")
    config = directory / "server.yaml"
    if fingerprint is None:
        request = directory / "ca/issuing.csr"
        print(f"next:  have {request} signed as a CA, then")
        print(f"       est-server ca install issuing CERTIFICATE ROOT -c {config}")
        fingerprint = "that of your root"
    print(f"root fingerprint  {fingerprint}")
    print(f"next:  est-server serve -c {config}")
    if wanted.interop:
        print(
            f"       est-server credential add USER --profile interop --uses unlimited -c {config}"
        )
    else:
        print(f"       est-server device add SN-0001 --profile device --otp -c {config}")
    for code, message in warnings:
        print(f"warning[{code}]: {message}")

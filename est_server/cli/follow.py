"""The follow command."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from est_server.cli.lazy import command_group
from est_server.cli.options import OutputOption, pairs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

    from est_server.cli.follow_keeper import Keeper, Source

app = command_group("Keep a file of revocation lists fresh.")


@app.command()
def follow(
    url: Annotated[
        str, typer.Option(help="The server's public listener, like http://pki.example.net:8080.")
    ],
    ca: Annotated[
        list[str],
        typer.Option(
            metavar="NAME=PEM",
            help="A CA as in server.yaml, and its certificate; repeatable, in the file's order.",
        ),
    ],
    crl_file: Annotated[Path, typer.Option(metavar="FILE", help="The file to keep.")],
    add: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CRL=PEM",
            help="A list that others keep, of an offline root say, and its CA's certificate.",
        ),
    ] = None,
    format_: Annotated[
        Literal["pem", "der"], typer.Option("--format", help="Of the file; der holds one list.")
    ] = "pem",
    deltas: Annotated[
        bool,
        typer.Option(
            "--deltas/--no-deltas",
            help="Put delta CRLs behind the complete lists, for programs that apply them.",
        ),
    ] = False,
    exec_: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Run by the shell when the file has changed, with CRL_FILE set.",
        ),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Fetch what is new, then end.")] = False,
    output: OutputOption = "table",
) -> None:
    """Keep a file of revocation lists as fresh as the server's, for nginx, HAProxy or Envoy.

    Follows the revocation feed and needs no server.yaml. A list counts once the CA's signature and
    everything else about it was checked and its number is higher; the file is replaced as a whole.
    What fails is told on stderr and tried again; the file stays as it was. JSON: a line for each
    replacement, {"file", "at", "lists": [{"ca", "kind", "number", "this_update", "next_update",
    "size"}]}. Exit codes: 0 when it is stopped, or done with --once; 1 if the server's lists are of
    no use for the file, and with --once whatever is refused or fails; with --once 4 if nobody
    answers.

    Example: est-server follow --url http://pki.example.net:8080 --ca issuing=issuing.pem
    --ca root=root.pem --crl-file /etc/nginx/clients.crl --exec 'nginx -s reload'
    """
    sources = _sources(ca, add)
    if format_ == "der" and (deltas or len(sources) > 1):
        raise typer.BadParameter("DER holds one list: one --ca, no --deltas", param_hint="--format")
    with _alone(crl_file):
        asyncio.run(_follow(url, sources, crl_file, format_, deltas, exec_, once, output))


async def _follow(
    url: str,
    sources: tuple[Source, ...],
    target: Path,
    form: Literal["pem", "der"],
    deltas: bool,
    command: str | None,
    once: bool,
    output: str,
) -> None:
    from est_server.cli.follow_command import Command
    from est_server.cli.follow_keeper import Keeper
    from est_server.cli.follow_remote import open_remote
    from est_server.cli.follow_told import Told

    told = Told(output)
    try:
        async with open_remote(url) as remote:
            runs = None if command is None else Command(command, target, told)
            keeper = Keeper(remote, sources, target, form, deltas, runs, told)
            if once:
                await keeper.begin()
                await keeper.once()
            else:
                await _until_stopped(keeper)
    finally:
        told.close()


async def _until_stopped(keeper: Keeper) -> None:
    async def work() -> None:
        await keeper.begin_patiently()
        await asyncio.gather(keeper.keep(), keeper.listen())

    task = asyncio.ensure_future(work())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _sources(cas: list[str], added: list[str] | None) -> tuple[Source, ...]:
    from est_server.cli.follow_keeper import Source

    ours = [Source(name, _certificate(file)) for name, file in pairs(cas, "--ca").items()]
    theirs = [
        Source(name, _certificate(file), Path(name)) for name, file in pairs(added, "--add").items()
    ]
    return (*ours, *theirs)


def _certificate(file: str) -> x509.Certificate:
    from cryptography import x509

    from est_server.errors import Malformed

    try:
        return x509.load_pem_x509_certificate(Path(file).read_bytes())
    except ValueError as error:
        raise Malformed("follow.certificate", f"{file} is no PEM certificate") from error


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Refuse to keep a file that another process keeps.

    Raises:
        Conflict: ``follow.taken``.
    """
    from est_server.errors import Conflict

    lock = os.open(target.with_name(f".{target.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict("follow.taken", f"another process keeps {target}") from error
        yield
    finally:
        os.close(lock)

"""The crl commands."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli import crl_check, crl_floor
from est_server.cli.exit import OK, REFUSED
from est_server.cli.lazy import command_group
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import iso, show_list

if TYPE_CHECKING:
    from est_server.app.crls import Crls
    from est_server.config.configuration import Configuration
    from est_server.ports.crl import PublishedCrl
    from est_server.ports.ledger import Ledger
    from est_server.revocation.checker import Finding
    from est_server.revocation.publisher import CrlPublisher

app = command_group("Revocation lists: list, publish, floor, verify, check.")
app.command("check")(crl_check.check)
app.command("floor")(crl_floor.floor)

_DONE_WITHIN = 30.0
_PAUSE = 0.25
_COLUMNS = ("ca", "shard", "kind", "number", "base", "this_update", "next_update", "size")


def crl_dict(crl: PublishedCrl) -> dict[str, Any]:
    """Return a published list in JSON's types."""
    from est_server.ports.crl import COMPLETE, crl_file

    return {
        "ca": crl.ca,
        "shard": max(crl.shard, COMPLETE),
        "kind": crl.kind,
        "number": crl.number,
        "base": crl.base_number,
        "this_update": iso(crl.this_update),
        "next_update": iso(crl.next_update),
        "published_at": iso(crl.published_at),
        "sequence": crl.extent.sequence,
        "size": crl.size,
        "file": crl_file(crl.ca, crl.shard, crl.kind),
    }


@app.command("list")
def list_(config: ConfigOption = SERVER_YAML, output: OutputOption = "table") -> None:
    """List the revocation lists and compact sets in force, and those that a delta refers to.

    JSON: [{"ca", "shard", "kind", "number", "base", "this_update", "next_update", "published_at",
    "sequence", "size", "file"}]; "sequence" is the last event that a list shows.

    Example: est-server crl list
    """

    async def work() -> list[dict[str, Any]]:
        async with opened(config) as (_, ledger):
            scopes = await ledger.crls.scopes()
            return [crl_dict(crl) for scope in scopes for crl in scope.published]

    show_list(output, asyncio.run(work()), _COLUMNS)


@app.command()
def publish(
    ca: Annotated[
        str | None, typer.Argument(help="As in server.yaml; without it, all that publish.")
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Publish complete lists, their delta CRLs and compact sets now, due or not.

    A running server hands them out within a second. JSON: as list, of what was published.

    Example: est-server crl publish issuing
    """

    async def work() -> list[dict[str, Any]]:
        from est_server.app.clock import system_clock

        async with opened(config) as (configuration, ledger):
            crls = await _open(configuration, ledger, ca)
            await ledger.audit.note("crl-publish", {"ca": ca or "all"}, at=system_clock())
            return [crl_dict(crl) for crl in await _publish(crls)]

    show_list(output, asyncio.run(work()), _COLUMNS)


async def _open(configuration: Configuration, ledger: Ledger, ca: str | None) -> Crls:
    from est_server.app.authorities import open_authorities
    from est_server.app.crls import open_crls
    from est_server.errors import NotFound

    rollovers = await ledger.rollovers.all()
    authorities = await open_authorities(configuration, rollovers)
    wanted = {name: one for name, one in authorities.items() if ca in {None, name}}
    crls = open_crls(configuration, wanted, ledger, rollovers)
    if not crls.publisher.issuers and not crls.compact.issuers:
        hint = "see cas.<name>.crl in server.yaml"
        raise NotFound("crl.none", "no CA by this name publishes lists here", hint=hint)
    return crls


async def _publish(crls: Crls) -> list[PublishedCrl]:
    """Publish until every scope has a complete list that is newer than it was, and a delta."""
    from est_server.config.logs import configure_logs

    configure_logs("warning", "console")  # what fails is told on stderr, and tried again
    done: list[PublishedCrl] = []
    for publisher in (crls.publisher, crls.compact):
        done += await _publish_all(publisher)
    return done


async def _publish_all(publisher: CrlPublisher[Any]) -> list[PublishedCrl]:
    from est_server.errors import BackendUnavailable

    await publisher.start()
    left = {(name, shard) for name, one in publisher.issuers.items() for shard in one.all_shards()}
    done: list[PublishedCrl] = []
    loop = asyncio.get_running_loop()
    until = loop.time() + _DONE_WITHIN
    while left:
        forced = frozenset(name for name, _ in left)
        found = [one.crl for one in await publisher.turn(forced)]
        done += found
        left -= {(crl.ca, crl.shard) for crl in found if crl.kind != "delta"}
        if loop.time() > until:
            hint = "the log tells why; another process may be publishing"
            raise BackendUnavailable("crl.unpublished", "a list could not be published", hint=hint)
        await asyncio.sleep(_PAUSE if left else 0)
    return done


@app.command()
def verify(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[CRL [DELTA]]", help="DER; without them, what is published."),
    ] = None,
    issuer: Annotated[
        Path | None, typer.Option(metavar="PEM", help="The CA's certificate, with files.")
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Check lists by every rule of RFC 5280 5, and deltas against their complete lists.

    Finds what validators pass over in silence: deltas that ended, leave a gap or belong to another
    list. Without files, checks what is published for every CA here, compact sets too, and needs no
    server. Exit code
    1 if anything is wrong. JSON: [{"list", "ok", "findings": [{"rule", "message"}]}].

    Example: est-server crl verify issuing.crl issuing-delta.crl --issuer ca/issuing.pem
    """
    if files:
        if len(files) > 2 or issuer is None:
            text = "a complete list, perhaps its delta, and --issuer"
            raise typer.BadParameter(text, param_hint="[CRL [DELTA]]")
        found = _verify_files(files, issuer)
    else:
        found = asyncio.run(_verify_published(config))
    show_list(output, [{**one, "findings": one["findings"]} for one in found], _VERIFIED)
    raise typer.Exit(OK if all(one["ok"] for one in found) else REFUSED)


_VERIFIED = ("list", "ok", "findings")


def _verdict(name: str, findings: list[Finding]) -> dict[str, Any]:
    told = [{"rule": one.rule, "message": one.message} for one in findings]
    return {"list": name, "ok": not told, "findings": told}


def _verify_files(files: list[Path], issuer: Path) -> list[dict[str, Any]]:
    from cryptography import x509

    from est_server.app.clock import system_clock
    from est_server.errors import Malformed

    try:
        certificate = x509.load_pem_x509_certificate(issuer.read_bytes())
    except ValueError as error:
        raise Malformed("issuer.encoding", f"{issuer} is no PEM certificate") from error
    ders = [file.read_bytes() for file in files]
    names = [str(file) for file in files]
    return _verify(names, ders, certificate, system_clock(), None)


def _verify(
    names: list[str], ders: list[bytes], issuer: Any, now: Any, url: str | None
) -> list[dict[str, Any]]:
    from est_server.revocation.checker import check_delta, check_list
    from est_server.wire.crl_reading import read_crl

    lists = [read_crl(der) for der in ders]
    found = [
        _verdict(name, list(check_list(crl, der, issuer, now, url)))
        for name, crl, der in zip(names, lists, ders, strict=True)
    ]
    if len(lists) > 1:
        findings = list(check_delta(lists[1], lists[0]))
        found.append(_verdict(f"{names[1]} on {names[0]}", findings))
    return found


async def _verify_published(config: Path) -> list[dict[str, Any]]:
    from est_server.app.authorities import open_authorities
    from est_server.app.clock import system_clock
    from est_server.cli.crl_check import set_findings
    from est_server.ports.crl import COMPACT, crl_file

    async with opened(config) as (configuration, ledger):
        authorities = await open_authorities(configuration, await ledger.rollovers.all())
        crls = await _open(configuration, ledger, None)
        found: list[dict[str, Any]] = []
        for scope in await ledger.crls.scopes():
            if scope.shard == COMPACT and scope.ca in crls.compact.issuers:
                certificate = authorities[scope.ca].certificates().issuer
                findings = await set_findings(ledger, scope.ca, certificate)
                found.append(_verdict(crl_file(scope.ca, COMPACT, "compact"), findings))
            issuer = crls.publisher.issuers.get(scope.ca)
            if issuer is None or not issuer.makes(scope.shard):
                continue
            names, ders = [], []
            for kind in ("base", "delta"):
                got = await ledger.crls.crl_der(scope.ca, scope.shard, kind)
                if got is not None and (kind == "base" or issuer.times.delta_lifetime is not None):
                    names.append(crl_file(scope.ca, scope.shard, kind))
                    ders.append(got[1])
            if not ders:
                name = crl_file(scope.ca, scope.shard, "base")
                rule = {"rule": "crl.missing", "message": "nothing is published yet"}
                found.append({"list": name, "ok": False, "findings": [rule]})
                continue
            certificate = authorities[scope.ca].certificates().issuer
            url = None if issuer.url is None else issuer.url + names[0]
            found += _verify(names, ders, certificate, system_clock(), url)
        return found

"""The audit verify command."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.exit import OK, REFUSED
from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show_json, show_list
from est_server.cli.progress import counting

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import Certificate

    from est_server.audit.finding import Finding
    from est_server.ports.audit import AuditReader

_COLUMNS = ("rule", "table", "key", "column", "message")
_PAGE = 1000


def verify(
    anchor: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Checkpoints written down elsewhere; repeatable."),
    ] = None,
    key: Annotated[
        list[Path] | None,
        typer.Option(metavar="PEM", help="Who may have signed, instead of the key here."),
    ] = None,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Check the whole log, its checkpoints, and every row that it speaks about.

    Finds what was altered, removed, inserted or reordered by hand in the ledger's tables, and names
    it. Who has the machine and the key can write another history; what was anchored tells. Exit
    code 1 if anything is wrong. JSON: {"ok", "leaves", "waiting", "checkpoints", "timestamps",
    "anchored", "signed", "rows", "older", "findings": [{"rule", "table", "key", "column",
    "message"}]}; "older" counts rows that are older than the log.

    Example: est-server audit verify --anchor /mnt/elsewhere/est.checkpoints
    """
    found = asyncio.run(_verify(config, anchor or [], key or []))
    if output == "json":
        show_json(found)
    else:
        _tell(found)
    raise typer.Exit(OK if found["ok"] else REFUSED)


def _tell(found: dict[str, Any]) -> None:
    if found["findings"]:
        show_list("table", found["findings"], _COLUMNS)
        print(f"{len(found['findings'])} findings")
    print(
        f"{found['leaves']} leaves, {found['checkpoints']} checkpoints, {found['rows']} rows"
        f" compared; {found['anchored']} anchored, {found['timestamps']} time-stamps"
    )
    if found["waiting"]:
        print(f"{found['waiting']} leaves are under no checkpoint yet")
    if older := {table: count for table, count in found["older"].items() if count}:
        counts = ", ".join(f"{count} {table}" for table, count in older.items())
        print(f"older than the log, and not in it: {counts}")
    if not found["signed"]:
        print("no signature was checked: est-server audit init, or --key")
    elif not found["anchored"] and not found["timestamps"]:
        print("nothing was compared with an anchor: see audit.anchor in server.yaml")


async def _verify(config: Path, anchors: list[Path], keys: list[Path]) -> dict[str, Any]:
    from est_server.app.audit import extend, open_signer, timestamp_roots, verifying_keys
    from est_server.app.clock import system_clock
    from est_server.audit.verify import verify as check
    from est_server.errors import BackendUnavailable
    from est_server.storage.audit_memory import temporary_memory

    async with opened(config) as (configuration, ledger):
        audit = configuration.server.audit
        given = [_key(path) for path in keys]
        signer = None if given else open_signer(configuration, system_clock)
        if signer is not None or audit is None:
            with suppress(BackendUnavailable):  # a damaged tree, or only reading: looked at below
                await extend(ledger.audit, signer)
        trusted = given or verifying_keys(configuration, signer)
        places = [*anchors]
        if audit is not None and audit.anchor is not None and audit.anchor.file is not None:
            own = configuration.base / audit.anchor.file
            places += [own] if own.exists() else []
        written = _anchored(places)
        roots = timestamp_roots(configuration)
        with counting("leaves") as told:

            def look(reader: AuditReader) -> dict[str, Any]:
                with temporary_memory() as memory:
                    report = check(reader, memory, trusted, written, told)
                stamps = list(_timestamps(reader, roots))
                findings = [*report.findings, *(one for one in stamps if one is not None)]
                return {
                    "ok": not findings,
                    "leaves": report.leaves,
                    "waiting": report.waiting,
                    "checkpoints": report.checkpoints,
                    "timestamps": len(stamps),
                    "anchored": len(written),
                    "signed": bool(trusted),
                    "rows": report.rows,
                    "older": dict(report.older),
                    "findings": [asdict(finding) for finding in findings],
                }

            return await ledger.audit.at_one_moment(look)


def _key(path: Path) -> Ed25519PublicKey:
    from est_server.config.audit import public_key
    from est_server.errors import Malformed

    found = public_key(path.read_bytes())
    if found is None:
        raise Malformed("audit.key", f"{path} is no PEM file of an Ed25519 public key")
    return found


def _anchored(places: Sequence[Path]) -> dict[int, str]:
    """Return the checkpoints of all anchors.

    Raises:
        Malformed: ``audit.anchor``: one is no file of checkpoints, or two of them disagree.
    """
    from est_server.audit.checkpoint import find_notes
    from est_server.errors import Malformed

    found: dict[int, str] = {}
    for place in places:
        for size, note in find_notes(place.read_text(encoding="utf-8")).items():
            if found.setdefault(size, note) != note:
                text = f"{place}: another anchor has another checkpoint of {size} leaves"
                raise Malformed("audit.anchor", text)
    return found


def _timestamps(reader: AuditReader, roots: Sequence[Certificate]) -> Iterator[Finding | None]:
    """Yield what is wrong with each time-stamp that is kept."""
    from est_server.audit.finding import Finding
    from est_server.errors import Malformed
    from est_server.web.anchor_timestamp import check_timestamp

    if not roots:
        return
    after = -1
    while found := reader.timestamps(after, _PAGE):
        for size, token in found:
            after = size
            kept = reader.checkpoints(size - 1, 1)
            try:
                if not kept or kept[0][0] != size:
                    raise Malformed("audit.timestamp", "its checkpoint was removed")  # noqa: TRY301 - as if it could not be believed
                check_timestamp(token, kept[0][1], roots)
            except Malformed as error:
                rule = error.rule
                yield Finding(rule, "audit_timestamps", str(size), "token", error.message)
            else:
                yield None

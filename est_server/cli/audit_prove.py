"""The audit prove command."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from est_server.cli.options import SERVER_YAML, ConfigOption, OutputOption, opened
from est_server.cli.output import show_list

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.audit import AuditReader
    from est_server.ports.ledger import Ledger

_COLUMNS = ("index", "act", "actor", "at", "size")


def prove(
    identifier: Annotated[
        str,
        typer.Argument(metavar="ID", help="A decision (d_…), request (r_…), serial or device."),
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Of how many decisions.")] = 20,
    config: ConfigOption = SERVER_YAML,
    output: OutputOption = "table",
) -> None:
    """Prove that what was done is in the log, under its newest checkpoint (RFC 9162 2.1.3).

    Each proof is checked before it is shown; interop/audit-verify checks it without us. JSON:
    [{"act", "actor", "at", "leaf", "index", "size", "hashes", "checkpoint"}]; "leaf" is the text
    that the tree is over, "hashes" the way from it to the root.

    Example: est-server audit prove r_06h0nq0sw135w641gea4y645kv -o json > proof.json
    """
    found = asyncio.run(_prove(config, identifier, limit))
    show_list(output, found, _COLUMNS)


async def _prove(config: Path, identifier: str, limit: int) -> list[dict[str, Any]]:
    from est_server.app.audit import extend, open_signer, verifying_keys
    from est_server.app.clock import system_clock
    from est_server.audit.notes import check_signature
    from est_server.errors import NotFound

    async with opened(config) as (configuration, ledger):
        signer = open_signer(configuration, system_clock)
        await extend(ledger.audit, signer)
        places = await ledger.audit.places(await _subjects(ledger, identifier, limit))
        if not places:
            hint = "give a decision (d_…), a request (r_…), a serial number or a device"
            raise NotFound("audit.unknown", f"the log says nothing of {identifier}", hint=hint)
        note = (await ledger.audit.state()).newest
        if note is None or signer is None:
            text = "nobody signs the audit log, so there is nothing to prove with"
            raise NotFound("audit.unsigned", text, hint="est-server audit init makes a key")
        checkpoint = check_signature(note, verifying_keys(configuration, signer))

        def look(reader: AuditReader) -> list[dict[str, Any]]:
            return [
                _proof(reader, place, checkpoint.size, checkpoint.root, note) for place in places
            ]

        return await ledger.audit.at_one_moment(look)


async def _subjects(ledger: Ledger, identifier: str, limit: int) -> set[str]:
    """Return what the leaves about an identifier may be found by."""
    from est_server.cli.cert import serial_number
    from est_server.cli.why import decisions_about

    found = {f"{table}:{identifier}" for table in ("devices", "requests", "pending_requests")}
    for decision in await decisions_about(ledger, identifier, limit):
        found.add(f"decisions:{decision.id}")
        if decision.request_id is not None and not decision.request_id.startswith(identifier):
            found |= {
                f"{table}:{decision.request_id}" for table in ("requests", "pending_requests")
            }
    if (number := serial_number(identifier)) is not None:
        for event in await ledger.revocations.events(serial_number=number):
            found.add(f"revocation_events:{event.sequence}")
    return found


def _proof(reader: AuditReader, place: int, size: int, root: bytes, note: str) -> dict[str, Any]:
    from est_server.audit.leaf import decode_leaf
    from est_server.audit.tiles import range_root, tiles_of
    from est_server.audit.tree import check_inclusion, inclusion_ranges, leaf_hash
    from est_server.cli.output import iso
    from est_server.errors import NotFound
    from est_server.storage.rows import time

    if place >= size:
        raise NotFound("audit.unsigned", f"leaf {place} is under no checkpoint yet")
    ((_, data),) = reader.leaves(place, 1)
    ranges = inclusion_ranges(place, size)
    tiles = reader.tiles(tiles_of(ranges))
    hashes = [range_root(one, tiles) for one in ranges]
    check_inclusion(leaf_hash(data), place, size, hashes, root)
    leaf = decode_leaf(data)
    return {
        "act": leaf.act,
        "actor": leaf.actor,
        "at": iso(time(leaf.at)),
        "leaf": data.decode(),
        "index": place,
        "size": size,
        "hashes": [one.hex() for one in hashes],
        "checkpoint": note,
    }

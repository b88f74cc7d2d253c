"""How far a rollover is, who follows, and how that is shown."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from est_server.cli.output import iso, show, show_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ledger import Ledger
    from est_server.ports.rollover import Rollover

FOLLOW_WITHIN = 15.0  # seconds; servers look every second
_PAUSE = 0.2
SHOWN = 50
"""Devices that are behind, by default."""
_NEXT = {
    "prepared": "publish",
    "published": "switch, once enough devices have fetched the new root",
    "switched": "retire, once nobody is behind; back if the new CA is no good",
    "retired": "nothing: the rollover is over",
    "aborted": "nothing: the rollover is over",
}


async def followed(ledger: Ledger, mark: str) -> None:
    """Wait until every server that is alive follows, or has had its time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + FOLLOW_WITHIN
    while loop.time() < until:
        if all(mark in node.rollovers.split() for node in await _alive(ledger)):
            return
        await asyncio.sleep(_PAUSE)


async def _alive(ledger: Ledger) -> list[Any]:
    from est_server.app.clock import system_clock
    from est_server.ports.ledger import NODE_ALIVE_FOR

    now = system_clock()
    return [node for node in await ledger.nodes() if node.seen_at > now - NODE_ALIVE_FOR]


async def status_of(ledger: Ledger, rollover: Rollover, limit: int) -> dict[str, Any]:
    """Return what `status` says of a rollover, in JSON's types, `limit` devices by name."""
    from est_server.app.clock import system_clock

    now = system_clock()
    counts = await ledger.rollovers.counts(rollover, now)
    behind = await ledger.rollovers.behind(rollover, now, limit=limit)
    mark = f"{rollover.successor}:{rollover.state}"
    return {
        "ca": rollover.ca,
        "state": rollover.state,
        "generation": rollover.generation,
        "predecessor": rollover.predecessor,
        "successor": rollover.successor,
        "settings": dict(rollover.settings),
        "prepared_at": iso(rollover.prepared_at),
        "published_at": iso(rollover.published_at),
        "switched_at": iso(rollover.switched_at),
        "ended_at": iso(rollover.ended_at),
        "tls_certificate": "by the new CA" if rollover.tls is not None else "as configured",
        "holders": counts.holders,
        "fetched": counts.fetched,
        "renewed": counts.renewed,
        "behind": counts.behind,
        "anonymous_fetches": rollover.anonymous_fetches,
        "devices_behind": [
            {"identity": one.identity, "not_after": iso(one.not_after)} for one in behind
        ],
        "servers": [
            {
                "node": node.node,
                "host": node.host,
                "pid": node.pid,
                "follows": mark in node.rollovers.split(),
            }
            for node in await _alive(ledger)
        ],
        "next": _NEXT[rollover.state],
    }


def show_status(output: str, value: Mapping[str, Any], *, dry_run: bool = False) -> None:
    """Print it, for programs or for people."""
    if output == "json":
        show_json({**value, "dry_run": dry_run})
        return
    devices, servers = value["devices_behind"], value["servers"]
    show(output, value, ("devices_behind", "servers", "settings"))
    for server in servers:
        follows = "follows" if server["follows"] else "DOES NOT FOLLOW YET"
        print(f"server {server['host']} pid {server['pid']}: {follows}")
    if not servers:
        print("no server is running; the next one to start follows")
    for device in devices:
        print(f"behind: {device['identity']} (its certificate ends {device['not_after']})")
    if value["behind"] > len(devices):
        print(f"behind: and {value['behind'] - len(devices)} more")
    if dry_run:
        print("dry run: nothing was changed")

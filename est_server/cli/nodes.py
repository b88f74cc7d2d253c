"""Server processes on this host, as the ledger knows them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

from est_server.ports.ledger import NODE_ALIVE_FOR

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from est_server.ports.ledger import Ledger, NodeStatus

ANSWERS_WITHIN = 10.0
_PAUSE = 0.1


def running_here(nodes: Sequence[NodeStatus], now: datetime) -> list[NodeStatus]:
    """Return the nodes of this host that are alive and whose process is a server of ours."""
    host = socket.gethostname()
    return [
        node
        for node in nodes
        if node.host == host and node.seen_at > now - NODE_ALIVE_FOR and _is_server(node.pid)
    ]


async def reload_nodes(ledger: Ledger, answers_within: float = ANSWERS_WITHIN) -> list[Any]:
    """Send SIGHUP to this host's servers and return what became of each.

    Args:
        ledger: the one that they share.
        answers_within: seconds to wait for their answer.

    Returns:
        {"node", "pid", "config", "error"} for each; an error is None where the reload worked.
    """
    from est_server.app.clock import system_clock

    before = running_here(await ledger.nodes(), system_clock())
    refused: dict[str, str] = {}
    for node in before:
        try:
            os.kill(node.pid, signal.SIGHUP)
        except OSError as error:
            refused[node.node] = f"can't be told: {error.strerror}"
    waiting = {node.node: node.reload_serial for node in before if node.node not in refused}
    after = {node.node: node for node in before}
    deadline = asyncio.get_running_loop().time() + answers_within
    while waiting and asyncio.get_running_loop().time() < deadline:
        for node in await ledger.nodes():
            if node.node in waiting and node.reload_serial > waiting[node.node]:
                after[node.node] = node
                del waiting[node.node]
        await asyncio.sleep(_PAUSE if waiting else 0)
    silent = f"did not answer within {answers_within:g} seconds"
    return [
        {
            "node": name,
            "pid": node.pid,
            "config": node.config_digest,
            "error": refused.get(name) or (silent if name in waiting else node.reload_error),
        }
        for name, node in after.items()
    ]


def _is_server(pid: int) -> bool:
    """Tell whether the process is a server: numbers are used again, and SIGHUP ends others."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return b"serve" in command

"""Work that comes back: heartbeats, health checks, whatever must happen again and again.

Each piece has a task of its own, so that a slow one holds up nobody else. A failure is logged and
the work comes back at its next turn: nothing that is done periodically may end the server.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from est_server.ports.ephemeral import Wakes

log = structlog.get_logger("periodic")


@dataclass(frozen=True, slots=True)
class Periodic:
    """One piece of work.

    Attributes:
        name: what the log calls it.
        seconds: the pause between the end of one turn and the start of the next.
        work: one turn.
        wakes: what ends a pause before its time; None if nothing does.
    """

    name: str
    seconds: float
    work: Callable[[], Awaitable[None]]
    wakes: Wakes | None = None


@asynccontextmanager
async def running(works: Sequence[Periodic]) -> AsyncIterator[None]:
    """Run every work, its first turn after its first pause, until the block ends."""
    tasks = [asyncio.create_task(_repeat(work), name=work.name) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(work: Periodic) -> None:
    while True:
        if work.wakes is None:
            await asyncio.sleep(work.seconds)
        else:
            await work.wakes.wait(work.seconds)
        try:
            await work.work()
        except BackendUnavailable as error:
            log.warning("periodic.unavailable", work=work.name, rule=error.rule, hint=error.hint)
        except Exception:
            log.exception("periodic.failed", work=work.name)

"""What a server process asks of its interpreter."""

from __future__ import annotations

import asyncio
import gc

_OBJECTS_BETWEEN_COLLECTIONS = 20_000


async def first_of(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def collect_less() -> None:
    """Let the garbage collector look at some dozens of requests at once.

    By default it looks twice during each enrollment, which makes hundreds of objects and hardly a
    cycle among them, and now and then at all that the start made, which stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)

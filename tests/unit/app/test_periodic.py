"""Work that comes back comes sooner when it is woken."""

from __future__ import annotations

import asyncio

from est_server.app.periodic import Periodic, running
from est_server.ports.ephemeral import REVOCATIONS
from est_server.storage.memory import MemoryEphemeral


async def test_a_wake_up_ends_the_pause():
    store, done = MemoryEphemeral(), asyncio.Event()

    async def work():
        done.set()

    async with running([Periodic("work", 3600, work, store.wakes(REVOCATIONS))]):
        await asyncio.sleep(0)
        assert not done.is_set()
        for _ in range(2):
            await store.notify(REVOCATIONS)
            async with asyncio.timeout(30):
                await done.wait()
            done.clear()


async def test_without_a_wake_up_time_ends_it():
    store, done = MemoryEphemeral(), asyncio.Event()

    async def work():
        done.set()

    async with running([Periodic("work", 0.01, work, store.wakes(REVOCATIONS))]):
        async with asyncio.timeout(30):
            await done.wait()

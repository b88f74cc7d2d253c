"""Put certificates on hold and release them at a steady rate: LEDGER PER_SECOND SERIAL…"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from est_server.app.clock import system_clock
from est_server.errors import Conflict
from est_server.ports.revocation import Release, Revocation
from est_server.storage.sqlite import SqliteLedger


async def main(path: str, per_second: str, *serials: str) -> None:
    """Change one certificate after the other until the process is ended."""
    store = SqliteLedger(Path(path)).revocations
    loop = asyncio.get_running_loop()
    begin, done = loop.time(), 0
    numbers = [int(serial, 16) for serial in serials]
    while True:
        for number in numbers:
            now = system_clock()
            try:
                order = Revocation("issuing", number, "certificateHold", now, "bench")
                await store.revoke([order])
            except Conflict:  # on hold already, from the run before
                await store.release([Release("issuing", number, now, "bench")])
            done += 1
            await asyncio.sleep(max(0.0, begin + done / int(per_second) - loop.time()))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

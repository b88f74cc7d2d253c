"""One process that publishes a compact set out of a ledger: what `bench_compact` measures.

usage: python compact_publish.py LEDGER; prints JSON. Beside it a task looks at the clock every
millisecond: what it misses is what OCSP would have waited.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from backends.soft import SoftAuthority
from est_server.pki.authority import authority_key_identifier, make_root
from est_server.ports.ca import CaCertificates
from est_server.revocation.compact import CompactSetIssuer, CompactTimes
from est_server.revocation.publisher import CrlPublisher
from est_server.storage.sqlite import SqliteLedger

HOUR = timedelta(hours=1)
TICK = 0.001


async def main(path: Path) -> None:
    """Read the ledger alone, then publish."""
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a program of its own
    root = make_root("Bench", "EC-P256", lifetime=timedelta(days=3650), now=now)
    issuer = CompactSetIssuer(
        ca="ca",
        signer=SoftAuthority(root.key, CaCertificates(root.certificate, ())),
        key_identifier=authority_key_identifier(root.certificate).key_identifier or b"",
        times=CompactTimes(HOUR, 24 * HOUR, HOUR),
    )
    ledger = SqliteLedger(path)
    idle = _peak(resource.RUSAGE_SELF)
    started = perf_counter()
    await ledger.crls.universe("ca", ends_from=now)
    read = perf_counter() - started
    publisher = CrlPublisher({"ca": issuer}, ledger, {}, lambda: now)
    await publisher.start()
    waits: list[float] = []
    watch = asyncio.create_task(_watch(waits))
    started = perf_counter()
    (done,) = await publisher.turn()
    published = perf_counter() - started
    watch.cancel()
    await ledger.close()
    report = {
        "octets": done.crl.size, "read": read, "published": published, "idle_mib": idle,
        "waited": 1000 * max(waits), "peak_mib": _peak(resource.RUSAGE_SELF),
        "child_mib": _peak(resource.RUSAGE_CHILDREN),
    }  # fmt: skip
    print(json.dumps(report))


async def _watch(waits: list[float]) -> None:
    while True:
        started = perf_counter()
        await asyncio.sleep(TICK)
        waits.append(perf_counter() - started - TICK)


def _peak(whose: int) -> float:
    """Return MiB; a child begins as the copy of its parent, which counts as its own."""
    return resource.getrusage(whose).ru_maxrss / 1024


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

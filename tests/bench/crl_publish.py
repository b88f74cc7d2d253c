"""One process that makes a CA's lists out of a ledger: what `bench_crl` measures.

usage: python crl_publish.py LEDGER; prints JSON. The process does nothing else, so that its peak
of memory is that of the lists.
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
from est_server.ports.crl import CrlScope, Extent
from est_server.revocation.issuer import CrlIssuer
from est_server.revocation.planning import CrlTimes, Plan
from est_server.revocation.publisher import CrlPublisher
from est_server.storage.sqlite import SqliteLedger

HOUR = timedelta(hours=1)
DELTA = 1000


async def main(path: Path) -> None:
    """Make the complete list and a delta, alone and as the publisher does."""
    now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a program of its own
    root = make_root("Bench", "EC-P256", lifetime=timedelta(days=3650), now=now)
    issuer = CrlIssuer(
        ca="ca",
        signer=SoftAuthority(root.key, CaCertificates(root.certificate, ())),
        subject=root.certificate.subject.public_bytes(),
        key_identifier=authority_key_identifier(root.certificate).key_identifier or b"",
        times=CrlTimes(24 * HOUR, 8 * HOUR, HOUR),
        shards=0,
        url="http://pki.example.net/crl/",
    )
    ledger = SqliteLedger(path)
    before = _peak()
    base = Plan(base=True, refers_to=None, this_update=now, leaves_out=Extent(0))
    started = perf_counter()
    snapshot = await ledger.crls.snapshot("ca", 0, now=Extent(0), since=None, complete=True)
    read = perf_counter() - started
    lists = await issuer.lists(CrlScope("ca", 0, 0, None, b""), 1, base, snapshot)
    made = perf_counter() - started
    sequence, der = snapshot.sequence, lists["base"]
    peak = _peak()
    path.with_name("base.crl").write_bytes(der)
    path.with_name("ca.pem").write_bytes(root.certificate.public_bytes(_pem()))
    del snapshot, lists

    since = Extent(sequence - DELTA)
    times = []
    for _ in range(20):
        started = perf_counter()
        snapshot = await ledger.crls.snapshot("ca", 0, now=Extent(0), since=since, complete=False)
        delta = Plan(
            base=False, refers_to=_published(since, now), this_update=now, leaves_out=Extent(0)
        )
        await issuer.lists(CrlScope("ca", 0, 0, None, b""), 2, delta, snapshot)
        times.append(perf_counter() - started)
    publisher = CrlPublisher({"ca": issuer}, ledger, {}, lambda: now)
    await publisher.start()
    started = perf_counter()
    await publisher.turn()
    published = perf_counter() - started
    await ledger.close()
    report = {
        "octets": len(der), "read": read, "made": made, "published": published,
        "delta": sorted(times)[len(times) // 2], "idle_mib": before, "peak_mib": peak,
        "published_mib": _peak(),
    }  # fmt: skip
    print(json.dumps(report))


def _pem():
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.PEM


def _published(extent: Extent, now: datetime):
    from est_server.ports.crl import PublishedCrl

    return PublishedCrl("ca", 0, 1, "base", None, now, now + HOUR, extent, 0, now)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))

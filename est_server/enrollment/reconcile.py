"""What a crash left behind.

A request is ``reserved`` while a process works on it, between the reservation and the record. If
that process dies there, nobody comes back to it. For a local CA nobody can tell whether it signed:
the serial is presumed issued, and so revocable, and the device's retry gets a new one. For a CA
elsewhere the request is parked, never guessed: `est_server.enrollment.settling` asks what became of
it, and a person has to look if the CA can't tell.

Several processes share a ledger, and a reservation of one that lives is its own business: a second
server that starts must not end what the first is doing. So every reservation carries the name of
its process, every process reports itself every few seconds, and only what belongs to nobody who
reported within `NODE_ALIVE_FOR` is settled: at the start, and again and again while serving, since
at a quick restart the process that died still looks alive.

Nothing here can be certain: a process that was stopped, or whose clock runs behind by more than
that time, is taken for dead while it works. This costs a retry and never a certificate that nobody
knows. Its `Ledger.record` finds the request settled and raises `Conflict`, so the device is handed
nothing, and the serial is already presumed issued (or the request parked, where the CA elsewhere
can be asked). Two processes that settle the same request at once are told apart the same way.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from est_server.errors import Conflict
from est_server.ports.ledger import NODE_ALIVE_FOR, CertificateRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger, RequestRecord


SILENT_FOR = timedelta(days=1)
"""How long a process that ended without a word is remembered, so that `doctor` tells of it."""


async def reconcile(
    ledger: Ledger, authorities: Mapping[str, CertificateAuthority], clock: Clock
) -> tuple[int, int]:
    """Settle every request that a process which is gone left reserved.

    Args:
        ledger: the record.
        authorities: the CAs of this server; requests of others are left alone.
        clock: the time.

    Returns:
        How many serials were presumed issued, and how many requests were parked.
    """
    presumed = parked = 0
    for request in await ledger.abandoned(clock() - NODE_ALIVE_FOR):
        authority = authorities.get(request.ca)
        if authority is None:
            continue
        local = authority.capabilities.local_key
        try:
            if local:
                await ledger.presume(request.id, presumed_certificate(request))
            else:
                now = clock()
                await ledger.orders.park(
                    request.id, reason="outcome unknown after a crash", next_at=now, at=now
                )
        except Conflict:
            continue  # it came to its end meanwhile: by its own process, or by another's reconcile
        presumed, parked = presumed + local, parked + (not local)
    return presumed, parked


async def forget_silent(ledger: Ledger, clock: Clock) -> None:
    """Forget server processes that were killed and whose operators have had a day to see it.

    What one of them left reserved stays abandoned (`Ledger.abandoned`).
    """
    for node in await ledger.nodes():
        if node.seen_at < clock() - SILENT_FOR:
            await ledger.forget_node(node.node)


def presumed_certificate(request: RequestRecord) -> CertificateRecord:
    """Return the row of a certificate that may exist although nobody has seen it."""
    plan = json.loads(request.plan)
    return CertificateRecord(
        ca=request.ca,
        serial_number=request.serial_number,
        status="presumed",
        der=None,
        spki_sha256=request.spki_sha256,
        subject=plan["subject"],
        profile=request.profile,
        identity=request.identity,
        device_id=request.device_id,
        request_id=request.id,
        not_before=datetime.fromisoformat(plan["not_before"]),
        not_after=datetime.fromisoformat(plan["not_after"]),
        issued_at=request.created_at,
        crl_shard=plan.get("crl_shard", 0),
    )

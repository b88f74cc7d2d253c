"""What a crash left behind.

A request that is still ``reserved`` when a server starts was cut off between the reservation and
the record. For a local CA nobody can tell whether it signed: the serial is presumed issued, and so
revocable, and the device's retry gets a new one. For a CA elsewhere the request is parked for a
person, never guessed.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING

from est_server.ports.ledger import CertificateRecord

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger, RequestRecord


async def reconcile(
    ledger: Ledger, authorities: Mapping[str, CertificateAuthority], clock: Clock
) -> tuple[int, int]:
    """Settle every request that a crash left reserved.

    Args:
        ledger: the record.
        authorities: the CAs of this server; requests of others are left alone.
        clock: the time.

    Returns:
        How many serials were presumed issued, and how many requests were parked.
    """
    presumed = parked = 0
    for request in await ledger.unsettled():
        authority = authorities.get(request.ca)
        if authority is None:
            continue
        if authority.capabilities.local_key:
            await ledger.presume(request.id, presumed_certificate(request))
            presumed += 1
        else:
            await ledger.settle(
                request.id, "parked", reason="outcome unknown after a crash", at=clock()
            )
            parked += 1
    return presumed, parked


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
    )

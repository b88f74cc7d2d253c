"""How one CA answers about its certificates, as the configuration says it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

NeverIssued = Literal["unknown", "revoked"]


@dataclass(frozen=True, slots=True)
class OcspPolicy:
    """The choices that RFC 6960 leaves.

    Attributes:
        lifetime: from thisUpdate to nextUpdate; caches and clients may keep an answer that long.
        presign: answers stay in memory and are signed again before a third of their life is over;
            otherwise each is signed when it is asked for.
        never_issued: what is said of serial numbers that this CA never used. ``revoked`` is the
            extended definition (RFC 6960 2.2), and the response says so.
        responder_key: algorithm of the responder's key (`est_server.pki.keys`).
        responder_lifetime: of the responder's certificate.
        archive: how long after their end certificates are answered for; None: for ever.
    """

    lifetime: timedelta = timedelta(hours=1)
    presign: bool = True
    never_issued: NeverIssued = "unknown"
    responder_key: str = "EC-P256"
    responder_lifetime: timedelta = timedelta(days=7)
    archive: timedelta | None = None

"""The log's line about each request: who asked for what, over which TLS, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import structlog

from est_server.enrollment.request import Trail

if TYPE_CHECKING:
    from est_server.enrollment.request import Enrolled
    from est_server.errors import EstServerError
    from est_server.ports.tls import TlsFacts

log = structlog.get_logger("est")


@dataclass(slots=True)
class AuditLine:
    """What is known of one request; filled in on its way.

    Attributes:
        id: of this request, also in the text of an internal error.
        peer: the address that connects.
        operation: as in the URL; ``unknown`` if there is no such.
        label: as in the URL.
        tls: facts of the connection.
        trail: what the use case learned.
        enrolled: the certificate that was the answer.
        error: the refusal that was the answer.
    """

    id: str
    peer: str
    operation: str = "unknown"
    label: str | None = None
    tls: TlsFacts | None = None
    trail: Trail = field(default_factory=Trail)
    enrolled: Enrolled | None = None
    error: EstServerError | None = None

    def write(self, status: int) -> None:
        """Write the line; what is not known is left out."""
        fields = {"id": self.id, "operation": self.operation, "label": self.label, "status": status}
        fields |= {"peer": self.peer, **self._connection(), **self._asker(), **self._outcome()}
        known = {name: value for name, value in fields.items() if value is not None}
        log.info("est.request", **known)

    def _connection(self) -> dict[str, Any]:
        if self.tls is None:
            return {}
        return {"tls": self.tls.version, "proxied": self.tls.proxied or None}

    def _asker(self) -> dict[str, Any]:
        trail = self.trail
        found: dict[str, Any] = {"pop": trail.binding}
        if trail.spki is not None:
            found["spki_sha256"] = sha256(trail.spki).hexdigest()
        if (identity := trail.identity) is not None:
            found |= {
                "identity": identity.name,
                "method": identity.method,
                "trust": identity.trust,
                "anchors": identity.anchors,
            }
        return found

    def _outcome(self) -> dict[str, Any]:
        if (error := self.error) is not None:
            return {
                "rule": error.rule,
                "message": error.message,
                "hint": error.hint,
                "decision": getattr(error, "decision_id", None),
            }
        if (enrolled := self.enrolled) is None:
            return {}
        certificate = enrolled.certificate
        return {
            "profile": certificate.profile,
            "serial": f"{certificate.serial_number:x}",
            "request": certificate.request_id,
            "decision": enrolled.decision_id,
            "repeated": enrolled.repeated or None,
        }

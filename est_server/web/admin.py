"""The admin listener: for orchestrators and monitoring, on loopback by default.

GET /livez      200 while the process answers
GET /readyz     200 when it can issue: the ledger writes, and a CA signed its last test; the body
                names every CA that can't be used, and how to mend it
GET /metrics    Prometheus text format; of several workers, all of them
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from est_server.errors import EstServerError
from est_server.web import metrics
from est_server.web.errors import Answer
from est_server.web.http import SERVER, respond

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ca import Health
    from est_server.ports.ledger import Ledger


@dataclass(slots=True)
class AdminEndpoint:
    """The admin listener's handler.

    Attributes:
        ledger: pinged by `/readyz`.
        health: each CA's last test signature; `est_server.app.upkeep` renews it.
    """

    ledger: Ledger
    health: Mapping[str, Health]

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.method not in {"GET", "HEAD"}:
            return respond(Answer(405, "operation.method: use GET\n", {"Allow": "GET"}))
        match request.rel_url.path:
            case "/livez":
                return respond(Answer(200, "ok\n"))
            case "/readyz":
                return await self._ready()
            case "/metrics":
                return web.Response(
                    body=metrics.exposition(),
                    headers={"Content-Type": CONTENT_TYPE_LATEST, "Server": SERVER},
                )
        return respond(Answer(404, "not-found: /livez, /readyz and /metrics are here\n"))

    async def _ready(self) -> web.Response:
        checks = {f"ca {name}": (found.ok, found.detail) for name, found in self.health.items()}
        try:
            await self.ledger.ping()
            checks["ledger"] = (True, "reads and writes")
        except EstServerError as error:
            checks["ledger"] = (False, error.message)
        cas = [found.ok for found in self.health.values()]
        ready = checks["ledger"][0] and any(cas)
        report = {
            "ready": ready,
            "checks": {name: {"ok": ok, "detail": detail} for name, (ok, detail) in checks.items()},
        }
        return web.Response(
            status=200 if ready else 503,
            text=json.dumps(report) + "\n",
            headers={"Content-Type": "application/json", "Server": SERVER},
        )

"""GET and POST /nonce over HTTP (draft-ietf-lamps-attestation-freshness).

The cookie is for clients that open a new connection for each request; for all others the TLS
session is the link between the nonce and the request that holds its evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from est_server.enrollment.nonces import issue_nonce
from est_server.errors import Malformed
from est_server.web.http import SERVER, HttpLimits, read_body
from est_server.wire.freshness import MEDIA_TYPE, NonceRequest, nonce_response, read_nonce_request

if TYPE_CHECKING:
    from est_server.enrollment.service import EnrollmentService
    from est_server.ports.tls import TlsFacts

COOKIE = "est-nonce"


async def answer_nonce(
    service: EnrollmentService,
    request: web.BaseRequest,
    limits: HttpLimits,
    label: str | None,
    tls: TlsFacts,
) -> web.Response:
    """Return a new nonce.

    Raises:
        NotFound, Malformed, BackendUnavailable: as in `issue_nonce`.
    """
    wanted = NonceRequest()
    if request.method == "POST":
        if request.content_type != MEDIA_TYPE:
            raise Malformed("body.media-type", f"the Content-Type must be {MEDIA_TYPE}")
        wanted = read_nonce_request(await read_body(request, limits))
    issued = await issue_nonce(
        service.rulebook,
        service.ledger,
        service.ephemeral,
        service.clock,
        label=label,
        tls=tls,
        peer=str(request.remote),
        cookie=nonce_cookie(request),
        wanted=wanted,
    )
    response = web.Response(
        body=nonce_response(issued.nonce, issued.expiry, issued.statement_type, issued.info),
        headers={"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store", "Server": SERVER},
    )
    response.set_cookie(
        COOKIE, issued.cookie, max_age=issued.expiry, secure=True, httponly=True, samesite="Strict"
    )
    return response


def nonce_cookie(request: web.BaseRequest) -> str | None:
    """Return what a client sends back of the cookie that went with its nonce."""
    return request.cookies.get(COOKIE)

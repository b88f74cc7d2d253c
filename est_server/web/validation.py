"""The public listener: what relying parties fetch over plain HTTP (RFC 5280 4.2.2.1).

GET /aia/<ca>.cer       the issuing CA's certificate, DER
GET /crl/…              see `est_server.web.crl`
/ocsp                   see `est_server.web.ocsp`
GET /revocations…       see `est_server.web.feed`
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from est_server.web.crl import PATH as CRL_PATH
from est_server.web.errors import Answer
from est_server.web.feed import PATH as FEED_PATH
from est_server.web.http import SERVER, respond
from est_server.web.ocsp import is_ocsp

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.web.crl import CrlEndpoint
    from est_server.web.feed import FeedEndpoint
    from est_server.web.ocsp import OcspEndpoint

_AIA = "/aia/"
_CER = ".cer"


@dataclass(slots=True)
class ValidationEndpoint:
    """The public listener's handler.

    Attributes:
        issuers: DER certificate of each CA, by its name in server.yaml.
        crls: revocation lists.
        ocsp: answers for the CAs that have a responder.
        feed: revocation events.
    """

    issuers: Mapping[str, bytes]
    crls: CrlEndpoint
    ocsp: OcspEndpoint
    feed: FeedEndpoint

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if is_ocsp(request.raw_path):
            return await self.ocsp.handle(request)
        path = request.rel_url.path
        if path.startswith(CRL_PATH):
            return self.crls.answer(request)
        if path.startswith(FEED_PATH):
            return await self.feed.handle(request)
        name = path.removeprefix(_AIA).removesuffix(_CER)
        der = self.issuers.get(name)
        if der is None or path != f"{_AIA}{name}{_CER}":
            return respond(Answer(404, "not-found: there is nothing here\n"))
        if request.method not in {"GET", "HEAD"}:
            return respond(Answer(405, "operation.method: use GET\n", {"Allow": "GET"}))
        etag = f'"{sha256(der).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "public, max-age=86400", "Server": SERVER}
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=der, headers={"Content-Type": "application/pkix-cert", **headers})

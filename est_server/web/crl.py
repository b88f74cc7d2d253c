"""Revocation lists over plain HTTP (RFC 5280 4.2.1.13, RFC 2585 4).

GET /crl/<ca>.crl, /crl/<ca>-delta.crl          the complete list, and its delta CRL
GET /crl/<ca>-<n>.crl, /crl/<ca>-<n>-delta.crl  a partial list, and its delta CRL
GET /crl/<ca>.set                               the compact set (docs/compact-set.md)

A cache may keep a complete list or a set until the next is due, and a delta CRL not at all without
asking: asking costs an answer without a body as long as nothing has changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING

from aiohttp import hdrs, web

from est_server.web.errors import Answer
from est_server.web.http import SERVER, respond

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from est_server.ports.clock import Clock
    from est_server.ports.crl import CrlKind
    from est_server.revocation.documents import Document

PATH = "/crl/"
_TYPE = "application/pkix-crl"  # RFC 2585 4
_TYPES = {"compact": "application/cms; encapsulatingContent=signedData"}  # RFC 7193 3
_AT_ONCE = timedelta(seconds=1)
"""Long enough for a cache to answer a crowd, too short to matter."""


@dataclass(frozen=True, slots=True)
class CrlEndpoint:
    """Hands out what the publisher has brought out.

    Attributes:
        documents: by the name of their file; the publisher replaces them.
        keep: by CA and kind, how long after its thisUpdate a list is not replaced; what is not
            named may be replaced at any time.
        clock: the time.
    """

    documents: Mapping[str, Document]
    keep: Mapping[tuple[str, CrlKind], timedelta]
    clock: Clock

    def answer(self, request: web.BaseRequest) -> web.Response:
        """Answer a request below `PATH`."""
        found = self.documents.get(request.rel_url.path.removeprefix(PATH))
        if found is None:
            return respond(Answer(404, "not-found: there is no such list here\n"))
        if request.method not in {hdrs.METH_GET, hdrs.METH_HEAD}:
            return respond(Answer(405, "operation.method: use GET\n", {"Allow": "GET, HEAD"}))
        packed = found.compressed is not None and takes_gzip(request.headers)
        etag = f'"{found.etag}{"-gzip" if packed else ""}"'
        headers = self._headers(found, etag)
        if _unchanged(request, etag, headers[hdrs.LAST_MODIFIED]):
            return web.Response(status=304, headers=headers)
        headers[hdrs.CONTENT_TYPE] = _TYPES.get(found.crl.kind, _TYPE)
        if packed:
            headers[hdrs.CONTENT_ENCODING] = "gzip"
        return web.Response(body=found.compressed if packed else found.der, headers=headers)

    def _headers(self, found: Document, etag: str) -> dict[str, str]:
        crl, now = found.crl, self.clock()
        until = now + _AT_ONCE
        if (keep := self.keep.get((crl.ca, crl.kind))) is not None:
            until = max(until, crl.this_update + keep)
        age = max(0, int((min(until, crl.next_update) - now).total_seconds()))
        headers: dict[str, str] = {
            hdrs.ETAG: etag,
            hdrs.LAST_MODIFIED: _http_date(crl.this_update),
            hdrs.EXPIRES: _http_date(now + timedelta(seconds=age)),
            hdrs.CACHE_CONTROL: f"public, max-age={age}, must-revalidate",
            hdrs.SERVER: SERVER,
        }
        if found.compressed is not None:
            headers[hdrs.VARY] = hdrs.ACCEPT_ENCODING
        return headers


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Tell whether Accept-Encoding (RFC 9110 12.5.3) takes gzip by its name."""
    for part in headers.get(hdrs.ACCEPT_ENCODING, "").split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() in {"gzip", "x-gzip"}:
            name, _, value = weight.partition("=")
            return name.strip().lower() != "q" or value.strip().strip("0.") != ""
    return False


def _unchanged(request: web.BaseRequest, etag: str, modified: str) -> bool:
    """RFC 9110 13.2.2: If-None-Match, or If-Modified-Since where there is none.

    A date is compared as it is: after a clock went back, a newer list has an older date.
    """
    tags = request.headers.get(hdrs.IF_NONE_MATCH)
    if tags is not None:
        known = [tag.strip().removeprefix("W/") for tag in tags.split(",")]
        return etag in known or known == ["*"]
    return request.headers.get(hdrs.IF_MODIFIED_SINCE) == modified


def _http_date(time: datetime) -> str:
    return format_datetime(time, usegmt=True)

"""OCSP over HTTP (RFC 6960 A.1, RFC 5019 5 and 6).

POST /ocsp             the request in the body
GET  /ocsp/<base64>    the request in the path, as RFC 6960 A.1 has it, and as clients write it:
                       percent-encoded or not, with further slashes before it, wrapped, unpadded

Whatever can't be answered is a response of its own with status 200: clients look inside. What may
be kept has the header fields of RFC 5019 6.2; what has a nonce may not.
"""

from __future__ import annotations

import binascii
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

import structlog
from aiohttp import hdrs, web

from est_server.errors import Malformed
from est_server.revocation.ocsp import refusal
from est_server.web import metrics
from est_server.web.errors import Answer, answer_for
from est_server.web.http import SERVER, read_body, respond
from est_server.wire.ocsp import MOST_OCTETS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.clock import Clock
    from est_server.revocation.ocsp import OcspService
    from est_server.revocation.ocsp_memory import OcspAnswer, Slot
    from est_server.web.http import HttpLimits

PATH = "/ocsp"
MEDIA_TYPE = "application/ocsp-response"
_SPACE = b" \t\r\n"

log = structlog.get_logger("ocsp")


@dataclass(slots=True)
class OcspEndpoint:
    """Answers OCSP requests that came over HTTP.

    Attributes:
        service: knows the answers.
        limits: of a connection.
        clock: the time.
    """

    service: OcspService
    limits: HttpLimits
    clock: Clock

    async def answer(self, request: bytes | None) -> tuple[OcspAnswer, Slot | None]:
        """Return the answer to a request, None being one that is not even base64; never raises."""
        if request is None:
            return refusal("malformed_request"), None
        try:
            return await self.service.answer(request)
        except Exception:
            log.exception("ocsp.failed", request=request.hex())
            return refusal("internal_error"), None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request whose path `is_ocsp`."""
        asked: bytes | None
        if request.method == "POST":
            try:
                asked = await read_body(request, replace(self.limits, body=MOST_OCTETS))
            except Malformed as error:
                return respond(answer_for(error, realm=""))
        elif request.method in {"GET", "HEAD"}:
            asked = request_in_path(request.raw_path)
        else:
            allowed = {"Allow": "GET, POST"}
            return respond(Answer(405, "operation.method: use GET or POST\n", allowed))
        answer, _ = await self.answer(asked)
        metrics.OCSP_RESPONSES.labels(answer.outcome).inc()
        headers = header_fields(answer, self.clock())
        if request.method != "POST" and _unchanged(request.headers, headers):
            return web.Response(status=304, headers=headers)
        return web.Response(body=answer.der, headers={"Content-Type": MEDIA_TYPE, **headers})


def is_ocsp(raw_path: str) -> bool:
    """Tell whether a request-target, as sent, belongs to `OcspEndpoint`."""
    path = _path(raw_path)
    return path == PATH or path.startswith(f"{PATH}/")


def request_in_path(raw_path: str) -> bytes | None:
    """Return the DER in a request-target; None if there is no base64 (RFC 6960 A.1.1).

    DER begins with 0x30, and so its base64 with M: slashes before it are nobody's data.
    """
    text = unquote_to_bytes(_path(raw_path).removeprefix(PATH)).lstrip(b"/")
    text = text.translate(None, _SPACE).rstrip(b"=")
    try:
        return binascii.a2b_base64(text + b"=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        return None


def _path(raw_path: str) -> str:
    """Return the path with one slash before it; a proxy sends the whole URL (RFC 9112 3.2.2)."""
    if raw_path.startswith("http://"):
        raw_path = raw_path.removeprefix("http://").partition("/")[2]
    return "/" + raw_path.lstrip("/")


def header_fields(answer: OcspAnswer, now: datetime) -> dict[str, str]:
    """Return how long whom may keep an answer (RFC 5019 6.2, RFC 9111 5.2.2).

    Args:
        answer: to be sent.
        now: the time; becomes Date, which max-age counts from.
    """
    fields = {"Server": SERVER, "Date": _http_date(now)}
    begin, end = answer.this_update, answer.next_update
    if begin is None or end is None:
        return {**fields, "Cache-Control": "no-store"}
    age = max(0, int((end - now).total_seconds()))
    return {
        **fields,
        "Cache-Control": f"max-age={age}, public, no-transform, must-revalidate",
        "ETag": f'"{sha256(answer.der).hexdigest()[:40]}"',
        "Last-Modified": _http_date(begin),
        "Expires": _http_date(end),
    }


def _http_date(at: datetime) -> str:
    return format_datetime(at.astimezone(UTC).replace(microsecond=0), usegmt=True)


def _unchanged(asked: Mapping[str, str], fields: Mapping[str, str]) -> bool:
    """Tell whether the client has this very answer (RFC 9110 13.2.2)."""
    tag = fields.get("ETag")
    if tag is None:
        return False
    if (known := asked.get(hdrs.IF_NONE_MATCH)) is not None:
        return known.strip() == "*" or tag in {
            one.strip().removeprefix("W/") for one in known.split(",")
        }
    try:
        since = parsedate_to_datetime(asked.get(hdrs.IF_MODIFIED_SINCE, ""))
    except ValueError:
        return False
    return parsedate_to_datetime(fields["Last-Modified"]) <= since.replace(tzinfo=UTC)

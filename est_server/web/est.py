"""RFC 7030 over HTTP: from a request's line and headers to the use case, and back.

    GET  /.well-known/est/[label/]cacerts           4.1
    POST /.well-known/est/[label/]simpleenroll      4.2.1
    POST /.well-known/est/[label/]simplereenroll    4.2.2
    GET  /.well-known/est/[label/]csrattrs          4.5

A client that puts its path before the well-known one (strongSwan before 5.9.11 can do nothing
else) reaches the label there: ``/label/.well-known/est/simpleenroll``.

Answers have the shape that every measured client accepts: canonical header names, a
Content-Length, headers and body in one write, base64 that wraps for libest and for nobody else.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

import structlog
from aiohttp import hdrs, web

from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.request import BasicCredentials, EnrollmentRequest
from est_server.errors import EstServerError, Malformed, NotFound, Unauthenticated
from est_server.web.errors import Answer, answer_for
from est_server.web.http import SERVER, MethodNotAllowed, read_body, respond
from est_server.web.metrics import ENROLL_REQUESTS, ENROLL_SECONDS, REQUESTS
from est_server.wire.cms import certs_only
from est_server.wire.est_body import encode_body, wraps

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.enrollment.service import EnrollmentService
    from est_server.ports.ledger import Operation
    from est_server.ports.tls import TlsFacts
    from est_server.web.http import HttpLimits

_PREFIX = "/.well-known/est/"
_METHODS: dict[str, tuple[str, ...]] = {
    "cacerts": ("GET", "HEAD"),
    "csrattrs": ("GET", "HEAD"),
    "simpleenroll": ("POST",),
    "simplereenroll": ("POST",),
}
OPERATIONS = frozenset(_METHODS)
LONGEST_LABEL = 128

log = structlog.get_logger("est")


@dataclass(frozen=True, slots=True)
class Pages:
    """What a label answers to everybody, made once per configuration.

    Attributes:
        cacerts: DER of the certs-only CMS (RFC 7030 4.1.3).
        csrattrs: DER of CsrAttrs (RFC 7030 4.5.2); None for 204.
    """

    cacerts: bytes
    csrattrs: bytes | None


@dataclass(slots=True)
class EstEndpoint:
    """The EST listener's handler.

    Attributes:
        service: the use case.
        pages: by label; replaced at a reload.
        limits: of a request.
        realm: of the HTTP Basic challenge.
    """

    service: EnrollmentService
    pages: Mapping[str | None, Pages]
    limits: HttpLimits
    realm: str

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure becomes an answer."""
        started = perf_counter()
        operation = "unknown"
        error: EstServerError | None = None
        try:
            label, operation = route(request.rel_url.raw_path)
            _require_method(request.method, operation)
            if operation in {"simpleenroll", "simplereenroll"}:
                response = await self._enroll(
                    request,
                    label,
                    "simpleenroll" if operation == "simpleenroll" else "simplereenroll",
                )
            else:
                response = self._page(request, label, operation)
        except EstServerError as failure:
            error = failure
            answer = _answer(failure, self.realm)
            if answer.status == 404 and operation == "csrattrs":
                answer = Answer(404)  # BouncyCastle fails on a body here
            response = respond(answer)
        except Exception:
            incident = new_identifier("r", self.service.clock())
            log.exception("request.failed", operation=operation, incident=incident)
            response = respond(Answer(500, f"internal error (incident {incident})\n"))
        REQUESTS.labels(operation, response.status).inc()
        if operation in {"simpleenroll", "simplereenroll"}:
            ENROLL_SECONDS.labels(operation).observe(perf_counter() - started)
        if error is not None:
            log.info(
                "request.pending" if response.status == 202 else "request.refused",
                operation=operation,
                status=response.status,
                peer=_peer(request),
                rule=error.rule,
                message=error.message,
                hint=error.hint,
                decision=getattr(error, "decision_id", None),
            )
        return response

    def _page(
        self, request: web.BaseRequest, label: str | None, operation: str
    ) -> web.StreamResponse:
        pages = self.pages.get(label)
        if pages is None:
            raise NotFound("label.unknown", "there is no such label here")
        if operation == "cacerts":
            # no smime-type parameter: RFC 7030 4.1.3 names none, and old BouncyCastle wants none
            return _encoded(request, pages.cacerts, "application/pkcs7-mime")
        if pages.csrattrs is None:
            return web.Response(status=204, headers={"Server": SERVER})
        return _encoded(request, pages.csrattrs, "application/csrattrs")

    async def _enroll(
        self, request: web.BaseRequest, label: str | None, operation: Operation
    ) -> web.StreamResponse:
        if request.content_type != "application/pkcs10" and label in self.pages:
            raise Malformed("body.media-type", "the Content-Type must be application/pkcs10")
        body = await read_body(request, self.limits)
        tls = connection_facts(request)
        enrolled = await self.service.enroll(
            EnrollmentRequest(
                operation=operation,
                label=label,
                body=body,
                tls=tls,
                credentials=basic_credentials(request.headers.getall(hdrs.AUTHORIZATION, [])),
                peer=_peer(request),
            )
        )
        certificate = enrolled.certificate
        ENROLL_REQUESTS.labels(
            certificate.profile, operation, "repeated" if enrolled.repeated else "issued"
        ).inc()
        log.info(
            "certificate.repeated" if enrolled.repeated else "certificate.issued",
            operation=operation,
            label=label,
            profile=certificate.profile,
            identity=certificate.identity,
            serial=f"{certificate.serial_number:x}",
            request=certificate.request_id,
            decision=enrolled.decision_id,
            peer=_peer(request),
            tls=tls.version,
        )
        return _encoded(
            request,
            certs_only([certificate.der or b""]),
            "application/pkcs7-mime; smime-type=certs-only",
        )


def route(raw_path: str) -> tuple[str | None, str]:
    """Return (label, operation) of a path as it stood in the request line.

    Raises:
        NotFound: ``operation.unknown``.
    """
    before, found, after = raw_path.partition(_PREFIX)
    segments = after.removesuffix("/").split("/")
    if before:
        segments = [before.removeprefix("/"), *segments]
    operation = segments[-1]
    if not found or len(segments) > 2 or operation not in OPERATIONS:
        raise NotFound("operation.unknown", "there is no such EST operation here")
    if len(segments) == 1:
        return None, operation
    label = unquote(segments[0], errors="replace")
    if not label or len(label) > LONGEST_LABEL:
        raise NotFound("label.unknown", "there is no such label here")
    return label, operation


def _require_method(method: str, operation: str) -> None:
    if method not in (allowed := _METHODS[operation]):
        raise MethodNotAllowed(allowed[0])


def basic_credentials(headers: list[str]) -> BasicCredentials | None:
    """Return user name and password of HTTP Basic (RFC 7617).

    Raises:
        Unauthenticated: ``authentication.header`` if there are two headers, or it can't be read.
    """
    if not headers:
        return None
    scheme, _, encoded = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "basic":
        raise Unauthenticated("authentication.header", "send one Authorization: Basic header")
    try:
        username, colon, password = (
            b64decode(encoded.strip(), validate=True).decode().partition(":")
        )
    except ValueError as error:
        raise Unauthenticated("authentication.header", "the credentials can't be read") from error
    if not colon:
        raise Unauthenticated("authentication.header", "the credentials have no colon")
    if not username and not password:
        return None  # est-client-python sends the header even when it has nothing to say
    return BasicCredentials(username, password)


def connection_facts(request: web.BaseRequest) -> TlsFacts:
    """Return what TLS knows about the request's connection."""
    if request.transport is None:
        raise Malformed("body.incomplete", "the connection is gone")
    facts: TlsFacts = request.transport.get_extra_info("ssl_object").facts()
    return facts


def _peer(request: web.BaseRequest) -> str:
    return str(request.remote or "unknown")


def _answer(error: EstServerError, realm: str) -> Answer:
    answer = answer_for(error, realm=realm)
    if isinstance(error, MethodNotAllowed):
        return Answer(405, answer.text, {"Allow": error.allowed})
    return answer


def _encoded(
    request: web.BaseRequest,
    der: bytes,
    content_type: Literal[
        "application/pkcs7-mime",
        "application/pkcs7-mime; smime-type=certs-only",
        "application/csrattrs",
    ],
) -> web.Response:
    body = encode_body(der, wrap=wraps(request.headers.get(hdrs.USER_AGENT)))
    return web.Response(
        body=body,
        headers={
            "Content-Type": content_type,
            # BouncyCastle decodes base64 only if the answer says so
            "Content-Transfer-Encoding": "base64",
            "Server": SERVER,
        },
    )

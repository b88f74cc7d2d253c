"""RFC 7030 over HTTP: from a request's line and headers to the use case, and back.

    GET  /.well-known/est/[label/]cacerts           4.1
    POST /.well-known/est/[label/]simpleenroll      4.2.1
    POST /.well-known/est/[label/]simplereenroll    4.2.2
    POST /.well-known/est/[label/]fullcmc           4.3
    POST /.well-known/est/[label/]serverkeygen      4.4
    GET  /.well-known/est/[label/]csrattrs          4.5
    GET  /.well-known/est/[label/]nonce             draft-ietf-lamps-attestation-freshness, POST too

A client that puts its path before the well-known one (strongSwan before 5.9.11 can do nothing
else) reaches the label there: ``/label/.well-known/est/simpleenroll``.

Answers have the shape that every measured client accepts: canonical header names, a
Content-Length, headers and body in one write, base64 that wraps for libest and for nobody else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter
from typing import TYPE_CHECKING, Literal

import structlog
from aiohttp import hdrs, web

from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.request import EnrollmentRequest
from est_server.errors import EstServerError, Malformed, NotFound
from est_server.web.audit_line import AuditLine
from est_server.web.errors import Answer, answer_for
from est_server.web.est_request import (
    METHODS,
    basic_credentials,
    connection_facts,
    require_method,
    route,
)
from est_server.web.full_cmc import FullCmc, require_cmc_request
from est_server.web.http import SERVER, MethodNotAllowed, read_body, respond
from est_server.web.metrics import ENROLL_REQUESTS, ENROLL_SECONDS, REQUESTS
from est_server.web.nonce import answer_nonce, nonce_cookie
from est_server.web.proxies import Proxies
from est_server.web.serverkeygen import key_answer
from est_server.wire.cms import certs_only
from est_server.wire.est_body import encode_body, wraps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from est_server.enrollment.request import Enrolled
    from est_server.enrollment.service import EnrollmentService
    from est_server.ports.ledger import Operation
    from est_server.ports.tls import TlsFacts
    from est_server.web.http import HttpLimits

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
        fetched: told who fetched which label's cacerts.
        proxies: whose word about a client's certificate is believed.
        full_cmc: answers Full PKI Requests.
    """

    service: EnrollmentService
    pages: Mapping[str | None, Pages]
    limits: HttpLimits
    realm: str
    fetched: Callable[[str | None, TlsFacts], Awaitable[None]]
    proxies: Proxies = field(default_factory=Proxies)
    full_cmc: FullCmc = field(init=False)

    def __post_init__(self) -> None:
        self.full_cmc = FullCmc(self.service)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure becomes an answer, and every answer a line."""
        started = perf_counter()
        line = AuditLine(new_identifier("x", self.service.clock()), str(request.remote))
        try:
            response = await self._respond(request, line)
        except EstServerError as failure:
            line.error = failure
            answer = _answer(failure, self.realm)
            if answer.status == 404 and line.operation == "csrattrs":
                answer = Answer(404)  # BouncyCastle fails on a body here
            response = respond(answer)
        except Exception:
            log.exception("request.failed", operation=line.operation, id=line.id)
            response = respond(Answer(500, f"internal error (incident {line.id})\n"))
        REQUESTS.labels(line.operation, response.status).inc()
        if METHODS.get(line.operation) == ("POST",):
            ENROLL_SECONDS.labels(line.operation).observe(perf_counter() - started)
        line.write(response.status)
        return response

    async def _respond(self, request: web.BaseRequest, line: AuditLine) -> web.StreamResponse:
        line.label, line.operation = route(request.rel_url.raw_path)
        line.tls = tls = self.proxies.asker_facts(request, connection_facts(request))
        require_method(request.method, line.operation)
        match line.operation:
            case "simpleenroll" | "simplereenroll" | "serverkeygen" as operation:
                return await self._enroll(request, line, operation, tls)
            case "fullcmc":
                return await self._full_cmc(request, line, tls)
            case "nonce":
                return await answer_nonce(self.service, request, self.limits, line.label, tls)
        response = self._page(request, line.label, line.operation)
        if line.operation == "cacerts" and request.method == "GET":
            await self.fetched(line.label, tls)
        return response

    def _page(
        self, request: web.BaseRequest, label: str | None, operation: str
    ) -> web.StreamResponse:
        pages = self.pages.get(label)
        if pages is None:
            self.service.rulebook.profile_for(label)  # says why there is nothing
            raise NotFound("label.unknown", "there is no such label here")
        if operation == "cacerts":
            # no smime-type parameter: RFC 7030 4.1.3 names none, and old BouncyCastle wants none
            return _unchanged(request, _encoded(request, pages.cacerts, "application/pkcs7-mime"))
        if pages.csrattrs is None:
            return web.Response(status=204, headers={"Server": SERVER})
        return _unchanged(request, _encoded(request, pages.csrattrs, "application/csrattrs"))

    async def _enroll(
        self, request: web.BaseRequest, line: AuditLine, operation: Operation, tls: TlsFacts
    ) -> web.StreamResponse:
        if request.content_type != "application/pkcs10" and line.label in self.pages:
            raise Malformed("body.media-type", "the Content-Type must be application/pkcs10")
        received = await self._received(request, line, operation, tls)
        line.enrolled = enrolled = await self.service.enroll(received)
        _count(enrolled, operation)
        if enrolled.key is not None:
            return key_answer(enrolled.key, enrolled.certificate.der or b"")
        return _encoded(
            request,
            certs_only([enrolled.certificate.der or b""]),
            "application/pkcs7-mime; smime-type=certs-only",
        )

    async def _full_cmc(
        self, request: web.BaseRequest, line: AuditLine, tls: TlsFacts
    ) -> web.StreamResponse:
        if line.label in self.pages:
            require_cmc_request(request.headers.get(hdrs.CONTENT_TYPE))
        answer = await self.full_cmc.answer(
            await self._received(request, line, "simpleenroll", tls)
        )
        line.error, line.enrolled = answer.error, answer.enrolled
        if answer.enrolled is not None:
            _count(answer.enrolled, line.operation)
        response = _encoded(request, answer.der, answer.content_type)
        response.set_status(answer.status)
        response.headers.update(answer.headers)
        return response

    async def _received(
        self, request: web.BaseRequest, line: AuditLine, operation: Operation, tls: TlsFacts
    ) -> EnrollmentRequest:
        return EnrollmentRequest(
            operation=operation,
            label=line.label,
            body=await read_body(request, self.limits),
            tls=tls,
            credentials=basic_credentials(request.headers.getall(hdrs.AUTHORIZATION, [])),
            peer=line.peer,
            nonce_cookie=nonce_cookie(request),
            trail=line.trail,
        )


def _count(enrolled: Enrolled, operation: str) -> None:
    outcome = "repeated" if enrolled.repeated else "issued"
    ENROLL_REQUESTS.labels(enrolled.certificate.profile, operation, outcome).inc()


def _answer(error: EstServerError, realm: str) -> Answer:
    answer = answer_for(error, realm=realm)
    if isinstance(error, MethodNotAllowed):
        return Answer(405, answer.text, {"Allow": error.allowed})
    return answer


def _unchanged(request: web.BaseRequest, response: web.Response) -> web.Response:
    """Add an ETag; a client that has these octets already is told so (RFC 9110 13.1.2).

    The octets are the same as long as the configuration is, so that a device sees a change.
    """
    body = response.body
    etag = f'"{sha256(body if isinstance(body, bytes) else b"").hexdigest()[:32]}"'
    known = request.headers.get(hdrs.IF_NONE_MATCH, "")
    if etag in known or known.strip() == "*":
        return web.Response(status=304, headers={"ETag": etag, "Server": SERVER})
    response.headers["ETag"] = etag
    return response


def _encoded(
    request: web.BaseRequest,
    der: bytes,
    content_type: Literal[
        "application/pkcs7-mime",
        "application/pkcs7-mime; smime-type=certs-only",
        "application/pkcs7-mime; smime-type=CMC-response",
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

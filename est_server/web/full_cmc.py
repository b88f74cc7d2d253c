"""fullcmc over HTTP (RFC 7030 4.3, RFC 5273 3): the message in, a CMC answer out.

A failure that the message meets is told twice: by the HTTP status, and by a signed Full PKI
Response with a CMCStatusInfoV2 (RFC 7030 4.3.2 wants it for every CMC error). What HTTP has to say
before there is a message to speak of stays HTTP's: 401, 404, 413, 415, 429, and 202 to wait.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from email.message import Message
from typing import TYPE_CHECKING, Literal

from cryptography import x509

from est_server.enrollment.full_cmc import certify_message
from est_server.errors import (
    BackendRejected,
    BackendUnavailable,
    EstServerError,
    Malformed,
    NotFound,
    Pending,
    Unauthenticated,
)
from est_server.web.errors import answer_for
from est_server.wire.cmc import FullPkiRequest, parse_request
from est_server.wire.cmc_response import THIS_MESSAGE, FailInfo, PkiResponse, encode_response
from est_server.wire.cms import certs_only
from est_server.wire.est_body import decode_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.enrollment.request import Enrolled, EnrollmentRequest
    from est_server.enrollment.service import EnrollmentService
    from est_server.wire.cms_signed import Signer

ContentType = Literal[
    "application/pkcs7-mime; smime-type=certs-only",
    "application/pkcs7-mime; smime-type=CMC-response",
]
CERTS_ONLY: ContentType = "application/pkcs7-mime; smime-type=certs-only"
CMC_RESPONSE: ContentType = "application/pkcs7-mime; smime-type=CMC-response"
_NONCE_OCTETS = 16

_FAIL_INFO: tuple[tuple[str, FailInfo], ...] = (
    ("cmc.signature", "badMessageCheck"),
    ("cmc.algorithm", "badAlg"),
    ("cmc.signer", "badCertId"),
    ("csr.signature-algorithm", "badAlg"),
    ("csr.signature", "popFailed"),
    ("csr.weak-hash", "badAlg"),
    ("csr.key-unsupported", "badAlg"),
    ("key.", "badAlg"),
    ("pop.required", "popRequired"),
    ("pop.", "popFailed"),
    ("extension.", "unsupportedExt"),
    ("reenroll.key-same", "noKeyReuse"),
    *((f"{area}.", "badIdentity") for area in ("authentication", "credential", "device")),
    *((f"{area}.", "badIdentity") for area in ("identity", "method", "otp", "path")),
)
"""Beginnings of rules, the longer ones first, and what CMC calls such a failure."""


@dataclass(frozen=True, slots=True)
class CmcAnswer:
    """A status, a CMS message and headers; knows nothing of aiohttp.

    Attributes:
        error: the failure behind it, for the log.
        enrolled: the success behind it.
    """

    status: int
    der: bytes
    content_type: ContentType
    headers: Mapping[str, str] = field(default_factory=dict)
    error: EstServerError | None = None
    enrolled: Enrolled | None = None


@dataclass(slots=True)
class FullCmc:
    """Answers Full PKI Requests.

    Attributes:
        service: the use case.
        signer: signs what is more than a certificate: the listener's own certificate, which the
            client has just believed; replaced at a reload. None if its key makes no CMS signatures.
    """

    service: EnrollmentService
    signer: Signer | None = None

    async def answer(self, request: EnrollmentRequest) -> CmcAnswer:
        """Return the answer to one request.

        Raises:
            NotFound: there is no such label, or it does not offer fullcmc.
            Unauthenticated, Pending: as `EnrollmentService.enroll`.
        """
        signer = self.signer
        profile = self.service.rulebook.profile_for(request.label)
        if signer is None or not profile.model.full_cmc:
            raise NotFound("operation.not-offered", "fullcmc is not offered here")
        message: FullPkiRequest | None = None
        try:
            asker = await self.service.authenticate(replace(request, operation="simplereenroll"))
            message = parse_request(decode_body(request.body, ber=True).der)
            enrolled = await certify_message(self.service, asker, request, message)
        except (Unauthenticated, Pending, NotFound):
            raise
        except EstServerError as error:
            return _failure(error, message, signer)
        return _success(enrolled, message, signer)


def _failure(error: EstServerError, message: FullPkiRequest | None, signer: Signer) -> CmcAnswer:
    plain = answer_for(error, realm="")  # a 401 is not answered here
    said = PkiResponse(
        THIS_MESSAGE if message is None else message.body_part,
        fail_info=fail_info(error),
        text=plain.text.strip(),
    )
    der = encode_response(_to(said, message), signer)
    return CmcAnswer(plain.status, der, CMC_RESPONSE, plain.headers, error=error)


def _success(enrolled: Enrolled, message: FullPkiRequest, signer: Signer) -> CmcAnswer:
    der = enrolled.certificate.der or b""
    if message.transaction_id is None and message.sender_nonce is None:
        # RFC 5272 4.1: nothing to say but the certificate
        return CmcAnswer(200, certs_only([der]), CERTS_ONLY, enrolled=enrolled)
    certificate = x509.load_der_x509_certificate(der)
    said = _to(PkiResponse(message.body_part), message)
    body = encode_response(said, signer, [certificate])
    return CmcAnswer(200, body, CMC_RESPONSE, enrolled=enrolled)


def _to(said: PkiResponse, message: FullPkiRequest | None) -> PkiResponse:
    """Return the response with what ties it to its request (RFC 5272 6.6)."""
    if message is None:
        return said
    nonce = message.sender_nonce
    return replace(
        said,
        transaction_id=message.transaction_id,
        recipient_nonce=nonce,
        sender_nonce=None if nonce is None else secrets.token_bytes(_NONCE_OCTETS),
    )


def fail_info(error: EstServerError) -> FailInfo:
    """Return what CMC calls a failure (RFC 5272 6.1.4)."""
    if isinstance(error, BackendRejected):
        return "internalCAError"
    if isinstance(error, BackendUnavailable):
        return "tryLater"
    found = (info for start, info in _FAIL_INFO if error.rule.startswith(start))
    return next(found, "badRequest")


def require_cmc_request(content_type: str | None) -> None:
    """Return if this is the media type of a Full PKI Request (RFC 7030 4.3.1).

    Raises:
        Malformed: ``body.media-type``.
    """
    header = Message()
    header["Content-Type"] = content_type or ""
    smime_type = header.get_param("smime-type")
    if (
        header.get_content_type() != "application/pkcs7-mime"
        or not isinstance(smime_type, str)
        or smime_type.lower() != "cmc-request"
    ):
        raise Malformed(
            "body.media-type",
            "the Content-Type must be application/pkcs7-mime; smime-type=CMC-request",
        )

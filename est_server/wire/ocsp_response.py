"""OCSP responses (RFC 6960 4.2) beyond what the library builds, and those that are not signed.

    OCSPResponse ::= SEQUENCE {
        responseStatus ENUMERATED,
        responseBytes  [0] EXPLICIT SEQUENCE { responseType OBJECT IDENTIFIER,
                                               response OCTET STRING } OPTIONAL }
    BasicOCSPResponse ::= SEQUENCE {
        tbsResponseData ResponseData, signatureAlgorithm AlgorithmIdentifier,
        signature BIT STRING, certs [0] EXPLICIT SEQUENCE OF Certificate OPTIONAL }
    ResponseData ::= SEQUENCE {
        version    [0] EXPLICIT Version DEFAULT v1,
        responderID         CHOICE { byName [1] Name, byKey [2] KeyHash },
        producedAt          GeneralizedTime,
        responses           SEQUENCE OF SingleResponse,
        responseExtensions [1] EXPLICIT Extensions OPTIONAL }
    SingleResponse ::= SEQUENCE {
        certID              CertID,
        certStatus          CHOICE { good [0] NULL, revoked [1] RevokedInfo, unknown [2] NULL },
        thisUpdate          GeneralizedTime,
        nextUpdate         [0] EXPLICIT GeneralizedTime OPTIONAL,
        singleExtensions   [1] EXPLICIT Extensions OPTIONAL }

cryptography's builder makes responses about one certificate without single extensions, and writes
the CertID in its own form; `est_server.pki.ocsp` comes here for everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from asn1crypto import algos, core, ocsp
from asn1crypto import x509 as asn1_x509

from est_server.wire.ocsp import Extension

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography import x509

    from est_server.wire.ocsp import CertId

EXTENDED_REVOKE = "1.3.6.1.5.5.7.48.1.9"
NULL = b"\x05\x00"
CertStatus = Literal["good", "revoked", "unknown"]
_BASIC = "1.3.6.1.5.5.7.48.1.1"
_UNSUCCESSFUL = {
    "malformed_request": 1,
    "internal_error": 2,
    "try_later": 3,
    "unauthorized": 6,
}
Unsuccessful = Literal["malformed_request", "internal_error", "try_later", "unauthorized"]


# asn1crypto has these types too, and reads what is in a nonce, which need not be DER
class _Extensions(core.SequenceOf):  # type: ignore[misc]  # asn1crypto has no types
    _child_spec = Extension


class _ResponseData(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012 - its API
        ("responder_id", ocsp.ResponderId),
        ("produced_at", core.GeneralizedTime),
        ("responses", ocsp.Responses),
        ("response_extensions", _Extensions, {"explicit": 1, "optional": True}),
    ]


class _BasicResponse(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("tbs_response_data", _ResponseData),
        ("signature_algorithm", algos.SignedDigestAlgorithm),
        ("signature", core.OctetBitString),
        ("certs", ocsp.Certificates, {"explicit": 0}),
    ]


class _ResponseBytes(core.Sequence):  # type: ignore[misc]
    _fields = [("response_type", core.ObjectIdentifier), ("response", core.OctetString)]  # noqa: RUF012


class _Response(core.Sequence):  # type: ignore[misc]
    _fields = [  # noqa: RUF012
        ("response_status", ocsp.OCSPResponseStatus),
        ("response_bytes", _ResponseBytes, {"explicit": 0, "optional": True}),
    ]


@dataclass(frozen=True, slots=True)
class SingleResponse:
    """The status of one certificate; times are whole seconds, aware.

    Attributes:
        cert_id: as asked.
        status: good, revoked (held ones are) or unknown.
        this_update: when the status was known to be right.
        next_update: when there will be newer information at the latest.
        revocation_time: for revoked ones.
        revocation_reason: for revoked ones; None if unspecified, which is left out.
        archive_cutoff: how far back the status of expired certificates is kept (RFC 6960 4.4.4).
    """

    cert_id: CertId
    status: CertStatus
    this_update: datetime
    next_update: datetime
    revocation_time: datetime | None = None
    revocation_reason: x509.ReasonFlags | None = None
    archive_cutoff: datetime | None = None


def unsuccessful(status: Unsuccessful) -> bytes:
    """Return a response that says why there is none; it carries no signature (RFC 6960 2.3)."""
    return _dump(ocsp.OCSPResponse({"response_status": _UNSUCCESSFUL[status]}))


def encode_response_data(
    responses: Sequence[SingleResponse],
    *,
    responder_key_hash: bytes,
    produced_at: datetime,
    extensions: Sequence[tuple[str, bytes]] = (),
) -> bytes:
    """Return the DER of ResponseData, which is what gets signed.

    Args:
        responses: at least one.
        responder_key_hash: SHA-1 of the responder's key (RFC 6960 4.2.1).
        produced_at: when it is signed.
        extensions: OID and DER of the value of each response extension.
    """
    data: dict[str, Any] = {
        "responder_id": ocsp.ResponderId("by_key", core.OctetString(responder_key_hash)),
        "produced_at": produced_at,
        "responses": [_single(response) for response in responses],
    }
    if extensions:
        data["response_extensions"] = [
            {"extn_id": oid, "extn_value": value} for oid, value in extensions
        ]
    return _dump(_ResponseData(data))


def encode_response(data: bytes, algorithm: bytes, signature: bytes, certificate: bytes) -> bytes:
    """Return the DER of a successful OCSPResponse.

    Args:
        data: as `encode_response_data` made it.
        algorithm: DER of the AlgorithmIdentifier of the signature.
        signature: over `data`.
        certificate: the responder's own, DER.
    """
    basic = _BasicResponse(
        {
            "tbs_response_data": _ResponseData.load(data),
            "signature_algorithm": algos.SignedDigestAlgorithm.load(algorithm),
            "signature": signature,
            "certs": [asn1_x509.Certificate.load(certificate)],
        }
    )
    body = {"response_type": _BASIC, "response": _dump(basic)}
    return _dump(_Response({"response_status": "successful", "response_bytes": body}))


def _single(response: SingleResponse) -> dict[str, Any]:
    single: dict[str, Any] = {
        "cert_id": ocsp.CertId.load(response.cert_id.der),
        "cert_status": _status(response),
        "this_update": response.this_update,
        "next_update": response.next_update,
    }
    if response.archive_cutoff is not None:
        extension = {"extn_id": "archive_cutoff", "extn_value": response.archive_cutoff}
        single["single_extensions"] = [extension]
    return single


def _status(response: SingleResponse) -> Any:
    if response.status != "revoked":
        return ocsp.CertStatus(response.status, core.Null())
    info: dict[str, Any] = {"revocation_time": response.revocation_time}
    if response.revocation_reason is not None:
        info["revocation_reason"] = response.revocation_reason.name
    return ocsp.CertStatus("revoked", info)


def _dump(value: Any) -> bytes:
    encoded: bytes = value.dump()
    return encoded

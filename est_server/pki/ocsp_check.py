"""Is an OCSP response one that may be believed (RFC 6960 3.2)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from est_server.errors import BackendRejected, BackendUnavailable, Malformed

if TYPE_CHECKING:
    from datetime import datetime, timedelta

_LATER = frozenset({ocsp.OCSPResponseStatus.TRY_LATER, ocsp.OCSPResponseStatus.INTERNAL_ERROR})


@dataclass(frozen=True, slots=True)
class CheckedStatus:
    """What an authorized responder said about one certificate.

    Attributes:
        status: good, revoked or unknown.
        responder: the certificate that signed; the issuer's own where it does.
    """

    status: str
    revocation_time: datetime | None
    revocation_reason: x509.ReasonFlags | None
    produced_at: datetime
    this_update: datetime
    next_update: datetime | None
    responder: x509.Certificate


def check_response(
    der: bytes,
    request: ocsp.OCSPRequest,
    issuer: x509.Certificate,
    *,
    now: datetime,
    skew: timedelta,
) -> CheckedStatus:
    """Return what a response says if it may be believed.

    Args:
        der: the response.
        request: what it must answer, with its nonce if it has one.
        issuer: the CA of the certificate that was asked about.
        now: the time.
        skew: by how much clocks may differ.

    Raises:
        Malformed: ``ocsp-response.encoding``.
        BackendUnavailable: ``ocsp-response.later``.
        BackendRejected: ``ocsp-response.refused``, ``ocsp-response.certificate``,
            ``ocsp-response.responder``, ``ocsp-response.signature``, ``ocsp-response.time``,
            ``ocsp-response.nonce``.
    """
    try:
        response = ocsp.load_der_ocsp_response(der)
        status = response.response_status
        if status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            name = status.name.lower()
            if status in _LATER:
                raise BackendUnavailable("ocsp-response.later", f"the responder says {name}")
            raise BackendRejected("ocsp-response.refused", f"the responder says {name}")
        return _checked(response, request, issuer, now, skew)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("ocsp-response.encoding", "this is not an OCSP response") from error


def _checked(
    response: ocsp.OCSPResponse,
    request: ocsp.OCSPRequest,
    issuer: x509.Certificate,
    now: datetime,
    skew: timedelta,
) -> CheckedStatus:
    # 1. about the certificate in question
    asked = (request.serial_number, request.issuer_name_hash, request.issuer_key_hash)
    found = (response.serial_number, response.issuer_name_hash, response.issuer_key_hash)
    _require(asked == found, "certificate", "it is about another certificate")
    # 2. signed by the issuer, or by whom the issuer authorized (RFC 6960 4.2.2.2)
    responder = _responder(response, issuer, now, skew)
    try:
        _verify(response, responder)
    except InvalidSignature as error:
        text = "its signature does not fit the responder's key"
        raise BackendRejected("ocsp-response.signature", text) from error
    # 3. of today
    begin, end = response.this_update_utc, response.next_update_utc
    fresh = begin <= now + skew and (end is None or now <= end + skew)
    _require(fresh, "time", f"it is good from {begin} to {end}")
    # 4. for this very request
    nonce = _nonce(request.extensions)
    _require(nonce in {None, _nonce(response.extensions)}, "nonce", "it has another nonce, or none")
    return CheckedStatus(
        status=response.certificate_status.name.lower(),
        revocation_time=response.revocation_time_utc,
        revocation_reason=response.revocation_reason,
        produced_at=response.produced_at_utc,
        this_update=begin,
        next_update=end,
        responder=responder,
    )


def _responder(
    response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime, skew: timedelta
) -> x509.Certificate:
    for certificate in (*response.certificates, issuer):
        key = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
        if key.digest == response.responder_key_hash:
            break
        if response.responder_name is not None and certificate.subject == response.responder_name:
            break
    else:
        raise BackendRejected("ocsp-response.responder", "nobody here is its responder")
    if certificate == issuer:
        return issuer
    try:
        certificate.verify_directly_issued_by(issuer)
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (InvalidSignature, ValueError, x509.ExtensionNotFound) as error:
        text = "the issuer did not authorize its responder"
        raise BackendRejected("ocsp-response.responder", text) from error
    authorized = ExtendedKeyUsageOID.OCSP_SIGNING in usage
    _require(authorized, "responder", "the issuer did not authorize its responder")
    valid = certificate.not_valid_before_utc - skew <= now <= certificate.not_valid_after_utc + skew
    _require(valid, "responder", "its responder's certificate is not valid now")
    return certificate


def _verify(response: ocsp.OCSPResponse, responder: x509.Certificate) -> None:
    key, data, signature = (
        responder.public_key(),
        response.tbs_response_bytes,
        response.signature,
    )
    algorithm = response.signature_hash_algorithm
    if isinstance(key, ec.EllipticCurvePublicKey) and algorithm is not None:
        key.verify(signature, data, ec.ECDSA(algorithm))
    elif isinstance(key, rsa.RSAPublicKey) and algorithm is not None:
        key.verify(signature, data, PKCS1v15(), algorithm)
    else:
        key.verify(signature, data)  # type: ignore[union-attr,call-arg]  # the rest brings its own hash


def _nonce(extensions: x509.Extensions) -> bytes | None:
    try:
        return extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return None


def _require(holds: bool, rule: str, message: str) -> None:
    if not holds:
        raise BackendRejected(f"ocsp-response.{rule}", message)

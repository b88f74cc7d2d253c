"""G and H: what simpleenroll answers (RFC 7030 4.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from interop.conformance.asking import base64
from interop.conformance.case import case, require, skip
from interop.conformance.cms import issued_by, read_signed_data
from interop.conformance.target import PKCS10, Target, decoded

if TYPE_CHECKING:
    from interop.conformance.http import Response

_TYPE = "application/pkcs7-mime; smime-type=certs-only"
_INSIDE = (b"Traceback", b"<html", b"<!DOCTYPE", b"Exception", b"at java.", b'.py"', b"goroutine ")


@case(103, "RFC 7030 4.2.3")
def exactly_one_certificate(target: Target) -> None:
    """The answer is certs-only with exactly the certificate that was issued."""
    answer = target.post(base64(target.csr()))
    target.require_issued(answer)
    require(answer.media_type == "application/pkcs7-mime", f"Content-Type: {answer.media_type}")
    signed = read_signed_data(decoded(answer))
    count = len(signed.certificates) + signed.others
    require(count == 1, f"{count} certificates in place of one")
    require(not signed.signers, f"{signed.signers} signerInfos")
    require(not signed.crls, f"{signed.crls} revocation lists")


@case(103, "RFC 7030 4.2.3", "interop")
def the_content_type_by_the_letter(target: Target) -> None:
    """The Content-Type is written as libest compares it."""
    answer = target.post(base64(target.csr()))
    target.require_issued(answer)
    require(answer.get("Content-Type") == _TYPE, f"Content-Type: {answer.get('Content-Type')}")


@case(104, "RFC 7030 4.2.3")
def the_requests_key(target: Target) -> None:
    """The certificate has the request's key and a positive serial number of at most 20 octets."""
    key = target.key()
    found = target.require_issued(target.post(base64(target.csr(key=key))))
    require(found.public_key() == key.public_key(), "the certificate is for another key")
    serial = found.serial_number
    require(0 < serial < 1 << 160, f"serial number {serial}")
    require(found.not_valid_before_utc < found.not_valid_after_utc, "the validity is empty")


@case(104, "RFC 5280 4.1.2.2", "should")
def serial_numbers_are_random(target: Target) -> None:
    """Serial numbers can't be guessed."""
    serials = [
        target.require_issued(target.post(base64(target.csr()))).serial_number for _ in range(2)
    ]
    require(all(found.bit_length() > 32 for found in serials), f"serial numbers {serials}")
    require(abs(serials[0] - serials[1]) > 1 << 24, "serial numbers count up")


@case(104, "RFC 5280 6.1")
def within_the_issuers_life(target: Target) -> None:
    """The certificate is issued by a CA of cacerts and does not outlive it."""
    own = target.enrolled().certificate
    cacerts = read_signed_data(decoded(target.get("cacerts"))).certificates
    issuers = [found for found in cacerts if issued_by(own, found)]
    require(issuers, "no certificate of cacerts issued it")
    ends = max(found.not_valid_after_utc for found in issuers)
    require(own.not_valid_after_utc <= ends, "it outlives its issuer")


@case(105, "RFC 5280 4.2.1.1")
def key_identifiers(target: Target) -> None:
    """The certificate has an authorityKeyIdentifier that fits its issuer."""
    own = target.enrolled().certificate
    try:
        aki = own.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    except x509.ExtensionNotFound:
        require(False, "there is no authorityKeyIdentifier")  # noqa: FBT003
        return
    cacerts = read_signed_data(decoded(target.get("cacerts"))).certificates
    for issuer in (found for found in cacerts if issued_by(own, found)):
        try:
            ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            continue
        require(ski.digest == aki.key_identifier, "the key identifiers differ")


@case(106, "RFC 7030 4.2.3")
def errors_are_plain_text(target: Target) -> None:
    """Errors are plain text, short, with nothing of the inside."""
    answers = [
        target.get("nosuchoperation"),
        target.send("POST", target.path("simpleenroll"), (PKCS10,), b"x"),
        target.send("POST", target.path("cacerts"), (PKCS10,), b""),
    ]
    if target.options.user or target.options.identity:
        answers += [target.post(b"x"), target.post(base64(b"\x30\x80" * 50))]
    for answer in answers:
        _plain(answer)


def _plain(answer: Response) -> None:
    require(answer.status >= 400, f"status {answer.status} in place of an error")
    require(answer.status < 500 or answer.status == 501, f"status {answer.status}: its own fault")
    kind = answer.media_type
    require(kind in {"", "text/plain"} or not answer.body, f"{answer.status} is told as {kind}")
    leaked = [mark.decode() for mark in _INSIDE if mark in answer.body]
    require(not leaked, f"{answer.status} shows the inside: {leaked}")
    require(len(answer.body) < 2048, f"{answer.status} has {len(answer.body)} octets of text")


@case(107, "RFC 7030 4.2.3", "interop")
def the_same_request_again(target: Target) -> None:
    """The same request again gets the same certificate, not a second one."""
    body = base64(target.csr())
    first, second = (target.require_issued(target.post(body)) for _ in range(2))
    require(first == second, "a second certificate was issued")


@case(108, "RFC 7030 4.2.3")
def retry_after(target: Target) -> None:
    """A 202 has a Retry-After in whole seconds."""
    answer = target.post(base64(target.csr()))
    if answer.status != 202:
        skip("the server answers at once")
    value = answer.get("Retry-After") or ""
    require(value.isascii() and value.isdecimal(), f"Retry-After: {value or 'missing'}")

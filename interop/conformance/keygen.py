"""K and L: server-side key generation (RFC 7030 4.4) and full CMC (4.3)."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from email.parser import BytesParser
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import load_der_private_key

from interop.conformance.asking import (
    attribute,
    base64,
    certification_request,
    der,
)
from interop.conformance.case import Failed, case, require, skip
from interop.conformance.cms import certificates_in
from interop.conformance.target import PKCS10, Target

if TYPE_CHECKING:
    from cryptography import x509

    from interop.conformance.http import Response

_DECRYPT_KEY_IDENTIFIER = "1.2.840.113549.1.9.16.2.37"
_ABSENT = frozenset({404, 405, 501})


@dataclass(frozen=True, slots=True)
class Generated:
    """The two parts of an answer."""

    key_type: str
    key: bytes
    certificate: x509.Certificate


def _ask(target: Target, csr: bytes) -> Response:
    answer = target.post(base64(csr), operation="serverkeygen")
    if answer.status in _ABSENT:
        skip("the server generates no keys")
    if answer.status == 202:
        skip("the server answers 202")
    return answer


def _generated(answer: Response) -> Generated:
    """Read a multipart answer.

    Raises:
        Failed: it is not what RFC 7030 4.4.2 says.
    """
    require(answer.status == 200, f"status {answer.status} in place of 200")
    require(answer.media_type == "multipart/mixed", f"Content-Type: {answer.media_type}")
    head = f"Content-Type: {answer.get('Content-Type')}\r\n\r\n".encode()
    message: Any = BytesParser().parsebytes(head + answer.body)
    parts = message.get_payload()
    if not message.is_multipart() or len(parts) != 2:
        raise Failed("there are not two parts")
    kinds = [part.get_content_type() for part in parts]
    require(kinds[1] == "application/pkcs7-mime", f"the second part is {kinds[1]}")
    payloads = [b64decode("".join(part.get_payload().split())) for part in parts]
    (certificate,) = certificates_in(payloads[1])
    return Generated(kinds[0], payloads[0], certificate)


@case(142, "RFC 7030 4.4", "interop")
def not_offered(target: Target) -> None:
    """Where serverkeygen is not offered, it is 404 or 501."""
    body = base64(target.csr())
    answer = target.send("POST", target.path("serverkeygen"), (PKCS10,), body)
    if answer.status in {200, 202, 400, 401, 403}:
        skip("the server generates keys")
    require(answer.status in {404, 501}, f"status {answer.status} in place of 404 or 501")


@case(143, "RFC 7030 4.4.1")
def the_requests_key_is_ignored(target: Target) -> None:
    """The request's key and signature are ignored."""
    key = target.key()
    csr = certification_request(key, target.subject(), signer=target.key())
    found = _generated(_ask(target, csr)).certificate
    require(found.public_key() != key.public_key(), "the certificate is for the request's key")


@case(144, "RFC 7030 4.4.2")
def two_parts(target: Target) -> None:
    """The answer is multipart/mixed: the key, then the certificate."""
    found = _generated(_ask(target, target.csr()))
    require(found.key_type == "application/pkcs8", f"the first part is {found.key_type}")


@case(145, "RFC 7030 4.4.2")
def the_key_is_the_certificates(target: Target) -> None:
    """The key is the certificate's."""
    found = _generated(_ask(target, target.csr()))
    if found.key_type != "application/pkcs8":
        skip("the key is encrypted")
    key = load_der_private_key(found.key, None)
    require(key.public_key() == found.certificate.public_key(), "it is another key")


@case(148, "RFC 7030 4.4.1.1")
def an_unknown_key_identifier(target: Target) -> None:
    """An unknown DecryptKeyIdentifier is refused."""
    unknown = attribute(_DECRYPT_KEY_IDENTIFIER, der(4, b"no such key identifier"))
    answer = _ask(target, target.csr(unknown))
    require(400 <= answer.status < 500, f"status {answer.status} in place of an error")


@case(152, "RFC 7030 4.3", "interop")
def full_cmc_not_offered(target: Target) -> None:
    """Where fullcmc is not offered, it is 404 or 501."""
    kind = ("Content-Type", "application/pkcs7-mime; smime-type=CMC-request")
    answer = target.send("POST", target.path("fullcmc"), (kind,), b"MAA=\n")
    if answer.status in {200, 202, 400, 401, 403}:
        skip("the server speaks full CMC")
    require(answer.status in {404, 501}, f"status {answer.status} in place of 404 or 501")

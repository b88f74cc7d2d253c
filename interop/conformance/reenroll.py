"""I: re-enrollment (RFC 7030 4.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.name import _ASN1Type

from interop.conformance.asking import (
    alternative_names,
    base64,
    self_signed_certificate,
)
from interop.conformance.case import case, require, skip
from interop.conformance.connection import ConnectionFailed
from interop.conformance.target import PKCS10, Target, alternative_names_of, shown

if TYPE_CHECKING:
    from interop.conformance.http import Response


def _names(target: Target) -> list[x509.GeneralName]:
    return alternative_names_of(target.enrolled().certificate)


def _again(target: Target, key: object, subject: x509.Name | None = None,
           names: list[x509.GeneralName] | None = None) -> Response:  # fmt: skip
    """Re-enroll with the current names, unless others are given."""
    names = _names(target) if names is None else names
    attributes = (alternative_names(*names),) if names else ()
    return target.reenroll(key, subject or target.enrolled().certificate.subject, attributes)


def _offered(target: Target) -> None:
    """Skip unless a plain renewal works."""
    answer = _again(target, target.key())
    if answer.status != 200:
        skip(f"the server does not renew now: {answer.status} {shown(answer.body)}")


def _refused(answer: Response) -> None:
    require(answer.status in {400, 401, 403}, f"status {answer.status} in place of 403")


@case(115, "RFC 7030 4.2.2")
def the_same_key(target: Target) -> None:
    """A renewal with the same key is granted."""
    own = target.enrolled()
    answer = _again(target, own.key)
    if answer.status in {400, 403}:
        skip(f"the server does not renew keys now: {shown(answer.body)}")
    found = target.require_issued(answer)
    require(found.public_key() == own.key.public_key(), "the certificate is for another key")
    require(found.subject == own.certificate.subject, "the subject changed")


@case(116, "RFC 7030 4.2.2")
def a_new_key(target: Target) -> None:
    """A rekey is granted."""
    key = target.key()
    answer = _again(target, key)
    if answer.status in {400, 403}:
        skip(f"the server does not rekey now: {shown(answer.body)}")
    found = target.require_issued(answer)
    require(found.public_key() == key.public_key(), "the certificate is for another key")
    require(found.serial_number != target.enrolled().certificate.serial_number, "nothing is new")


@case(118, "RFC 7030 4.2.2")
def another_subject(target: Target) -> None:
    """Another subject is refused."""
    _offered(target)
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "somebody else")])
    _refused(_again(target, target.key(), other))


@case(119, "RFC 7030 4.2.2")
def other_alternative_names(target: Target) -> None:
    """Other alternative names are refused."""
    _offered(target)
    names = [*_names(target), x509.DNSName("other.example.net")]
    _refused(_again(target, target.key(), None, names))


@case(120, "RFC 7030 4.2.2")
def alternative_names_left_out(target: Target) -> None:
    """Leaving out the certificate's alternative names is refused."""
    if not _names(target):
        skip("the certificate has none: try --dns")
    _offered(target)
    _refused(_again(target, target.key(), None, []))


@case(121, "RFC 5280 7.1", "interop")
def other_string_types(target: Target) -> None:
    """The same subject in another string type is the same subject."""
    _offered(target)
    subject = target.enrolled().certificate.subject
    changed = x509.Name(
        [
            x509.NameAttribute(found.oid, found.value, _other(found._type))  # noqa: SLF001
            for found in subject
        ]
    )
    target.require_issued(_again(target, target.key(), changed))


def _other(kind: _ASN1Type) -> _ASN1Type:
    swap = {
        _ASN1Type.UTF8String: _ASN1Type.PrintableString,
        _ASN1Type.PrintableString: _ASN1Type.UTF8String,
    }
    return swap.get(kind, kind)


@case(122, "RFC 5280 4.2.1.6", "interop")
def alternative_names_in_another_order(target: Target) -> None:
    """The order of alternative names means nothing."""
    names = _names(target)
    if len(names) < 2:
        skip("the certificate has fewer than two")
    _offered(target)
    target.require_issued(_again(target, target.key(), None, names[::-1]))


@case(124, "RFC 7030 3.3.2")
def without_a_certificate(target: Target) -> None:
    """Without a client certificate there is no renewal."""
    _offered(target)
    body = base64(target.renewal(target.key()))
    answer = target.send("POST", target.path("simplereenroll"), (PKCS10,), body)
    require(answer.status in {401, 403}, f"status {answer.status} in place of 403")
    require(answer.status == 403 or answer.get("WWW-Authenticate"), "401 without a challenge")


@case(125, "RFC 7030 3.3.2")
def a_certificate_of_another_ca(target: Target) -> None:
    """A certificate with the right names from anybody else is refused."""
    _offered(target)
    key, subject = target.key(), target.enrolled().certificate.subject
    identity = target.keep(self_signed_certificate(key, subject), key)
    body = base64(target.renewal(key))
    path = target.path("simplereenroll")
    try:
        answer = target.send("POST", path, (PKCS10,), body, identity=identity)
    except ConnectionFailed:
        return  # refused by the handshake
    _refused(answer)

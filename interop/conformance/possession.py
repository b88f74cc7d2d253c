"""F: linking identity and proof of possession (RFC 7030 3.5, RFC 9266)."""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING

from interop.conformance.asking import base64, challenge
from interop.conformance.case import case, require, skip
from interop.conformance.csrattrs import oids
from interop.conformance.target import Target, decoded, shown

if TYPE_CHECKING:
    from interop.conformance.connection import Connection
    from interop.conformance.http import Response

_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"


def _bound(
    target: Target, on: Connection, value: str | bytes, string: str = "printable"
) -> Response:
    return target.post(base64(target.csr(challenge(value, string))), on=on)


def _require_binding(target: Target) -> None:
    """Skip unless the server takes this version's channel binding."""
    with target.connect_to_enroll() as connection:
        answer = _bound(target, connection, connection.binding)
        if answer.status == 202:
            skip("the server answers 202")
        if answer.status != 200:
            skip(f"the server takes no channel binding on TLS {target.version}: {answer.status}")


def _refused(answer: Response, what: str) -> None:
    require(400 <= answer.status < 500, f"{what}: status {answer.status} in place of a refusal")


@case(90, "RFC 7030 3.5", "interop")
def none_sent(target: Target) -> None:
    """No binding is sent where none is required."""
    answer = target.post(base64(target.csr()))
    if answer.status in {400, 403}:
        skip(f"the server requires more: {shown(answer.body)}")
    target.require_issued(answer)


@case(91, "RFC 7030 3.5")
def none_sent_and_required(target: Target) -> None:
    """No binding is sent where one is required: refused, and told why."""
    answer = target.post(base64(target.csr()))
    if answer.status == 200:
        skip("the server does not require one")
    _require_binding(target)
    require(answer.status in {400, 401, 403}, f"status {answer.status} in place of 400 or 403")
    require(answer.body.strip() or answer.status == 401, "no reason is given")


@case(92, "RFC 7030 3.5")
def tls_unique(target: Target) -> None:
    """The right tls-unique is accepted on TLS 1.2."""
    if target.version != "1.2":
        skip("TLS 1.3 has no tls-unique")
    with target.connect_to_enroll() as connection:
        target.require_issued(_bound(target, connection, connection.binding))


@case(93, "RFC 7030 3.5")
def a_wrong_value(target: Target) -> None:
    """A wrong value is refused, also where none is required."""
    with target.connect_to_enroll() as connection:
        size = 32 if target.version == "1.3" else 12
        _refused(_bound(target, connection, b64encode(os.urandom(size))), "random octets")
    with target.connect_to_enroll() as connection:
        _refused(_bound(target, connection, b""), "an empty value")


@case(94, "RFC 7030 3.5")
def a_prefix(target: Target) -> None:
    """The right value with more behind it, or less, is refused."""
    _require_binding(target)
    for change in ("%sAAAA", "%s ", "%s\0"):
        with target.connect_to_enroll() as connection:
            value = change % connection.binding
            _refused(_bound(target, connection, value, "utf8"), f"the value, {change!r}")
    with target.connect_to_enroll() as connection:
        _refused(_bound(target, connection, connection.binding[:-1]), "the value cut short")


@case(95, "RFC 2985 5.4.1")
def every_string_type(target: Target) -> None:
    """PrintableString, UTF8String and IA5String are read alike."""
    _require_binding(target)
    for string in ("printable", "utf8", "ia5", "teletex"):
        with target.connect_to_enroll() as connection:
            # a value with + / = is no PrintableString in the letter; deployed clients send it so
            answer = _bound(target, connection, connection.binding, string)
            require(answer.status == 200, f"{string}: status {answer.status}")
    with target.connect_to_enroll() as connection:
        _refused(_bound(target, connection, "A" * 16, "utf8"), "a wrong UTF8String")


@case(96, "RFC 8446 C.5")
def tls_unique_on_1_3(target: Target) -> None:
    """A Finished message is no channel binding on TLS 1.3."""
    if target.version != "1.3":
        skip("this is TLS 1.2")
    with target.connect_to_enroll() as connection:
        value = b64encode(connection.finished)
        _refused(_bound(target, connection, value), "tls-unique on TLS 1.3")


@case(97, "RFC 9266 3", "should")
def tls_exporter(target: Target) -> None:
    """The right tls-exporter is accepted on TLS 1.3."""
    if target.version != "1.3":
        skip("this is TLS 1.2")
    _require_binding(target)
    with target.connect_to_enroll() as connection:
        target.require_issued(_bound(target, connection, connection.binding))


@case(98, "RFC 7030 3.5")
def of_another_connection(target: Target) -> None:
    """The value of another connection is refused."""
    with target.connect_to_enroll() as other, target.connect_to_enroll() as connection:
        _refused(_bound(target, connection, other.binding), "another connection's value")


@case(100, "RFC 7030 4.5.2")
def csrattrs_ask_for_it(target: Target) -> None:
    """Where a binding is required, csrattrs asks for it."""
    answer = target.post(base64(target.csr()))
    if answer.status == 200:
        skip("the server does not require one")
    _require_binding(target)
    asked = target.get("csrattrs")
    require(asked.status == 200, f"csrattrs: status {asked.status}")
    require(_CHALLENGE_PASSWORD in oids(decoded(asked)), "csrattrs does not list challengePassword")

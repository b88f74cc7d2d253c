"""E: authentication (RFC 7030 3.2.3, 3.3.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interop.conformance.asking import base64
from interop.conformance.case import case, require, skip
from interop.conformance.target import PKCS10, Target, basic

if TYPE_CHECKING:
    from interop.conformance.http import Response
    from interop.conformance.target import Fields


def _anonymous(target: Target, fields: Fields = ()) -> Response:
    """Send a request that would be granted, without a client certificate."""
    body = base64(target.csr())
    return target.send("POST", target.path("simpleenroll"), (*fields, PKCS10), body)


@case(77, "RFC 7030 3.2.3")
def the_challenge(target: Target) -> None:
    """No credentials: 401 with the Basic challenge first."""
    answer = _anonymous(target)
    if answer.status == 403:
        skip("the server offers no HTTP authentication")
    require(answer.status == 401, f"status {answer.status} in place of 401")
    challenges = answer.all("WWW-Authenticate")
    require(challenges, "401 without a challenge (RFC 9110 11.6.1)")
    first = challenges[0]
    require(first.startswith(("Basic ", "Digest ")), f"the first challenge is {first}")
    require('realm="' in first, f"the first challenge has no quoted realm: {first}")


@case(78, "RFC 9110 15.5.4", "interop")
def no_scheme_to_offer(target: Target) -> None:
    """No credentials where only certificates are taken: 403."""
    answer = _anonymous(target)
    if answer.status == 401 and answer.get("WWW-Authenticate"):
        skip("the server offers HTTP authentication")
    require(answer.status == 403, f"status {answer.status} in place of 403")


@case(79, "RFC 7030 3.2.3")
def a_wrong_password(target: Target) -> None:
    """A wrong password is 401."""
    if target.options.user is None:
        skip("needs --user")
    wrong = basic(target.options.user[0], "not the password")
    answer = _anonymous(target, (wrong,))
    require(answer.status == 401, f"status {answer.status} in place of 401")
    require(answer.get("WWW-Authenticate"), "401 without a challenge (RFC 9110 11.6.1)")


@case(79, "RFC 7030 3.2.3")
def an_unknown_user(target: Target) -> None:
    """An unknown user is told nothing else than a wrong password."""
    if target.options.user is None:
        skip("needs --user")
    unknown = _anonymous(target, (basic("nobody-has-this-name", "x"),))
    wrong = _anonymous(target, (basic(target.options.user[0], "x"),))
    same = (unknown.status, unknown.body) == (wrong.status, wrong.body)
    require(same, "an unknown user and a wrong password have different answers")


@case(81, "RFC 7030 3.2.3")
def basic_unasked(target: Target) -> None:
    """Basic sent unasked is enough, without a client certificate."""
    if target.options.user is None:
        skip("needs --user")
    if target.options.identity is not None:
        skip("the server may want the certificate too")
    target.require_issued(_anonymous(target, target.authorization))


@case(84, "RFC 7030 3.2.3")
def a_401_leaves_nothing(target: Target) -> None:
    """A request that got a 401 is granted with credentials on a new connection."""
    target.require_enrollment()
    body = base64(target.csr())
    first = target.send("POST", target.path("simpleenroll"), (PKCS10,), body)
    if first.status not in {401, 403}:
        skip(f"status {first.status} without credentials")
    require(b"BEGIN" not in first.body and len(first.body) < 4096, "the refusal has a large body")
    target.require_issued(target.post(body))

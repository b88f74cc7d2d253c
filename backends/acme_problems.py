"""What an ACME server's problem documents mean for an order (RFC 8555 6.7).

the server's verdict about this request      `BackendRejected`
not taken: limits, the account, the login    `BackendUnavailable`, nothing issued
anything else                                `BackendUnavailable`, nobody knows
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from est_server.errors import BackendRejected, BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from backends.remote import Answer, Remote

_PREFIX = "urn:ietf:params:acme:error:"
_VERDICTS = frozenset(
    {
        "badCSR", "caa", "compound", "connection", "dns", "incorrectResponse", "invalidProfile",
        "malformed", "rejectedIdentifier", "tls", "unsupportedIdentifier",
    }
)  # fmt: skip
_NOT_TAKEN = {
    "accountDoesNotExist": "ca.login",
    "badNonce": "ca.busy",
    "badPublicKey": "ca.misconfigured",
    "badSignatureAlgorithm": "ca.misconfigured",
    "externalAccountRequired": "ca.login",
    "invalidContact": "ca.misconfigured",
    "rateLimited": "ca.busy",
    "unauthorized": "ca.forbidden",
    "unsupportedContact": "ca.misconfigured",
    "userActionRequired": "ca.login",
}
_LONGEST = 500
BUSY_FOR = 60
"""Seconds, where a server names none."""


class AcmeProblemError(Exception):
    """An answer that is a problem document, or an error without one.

    Attributes:
        kind: after the namespace of RFC 8555: ``rateLimited``; empty if it says none.
        status: of HTTP.
        retry_after: seconds, if it says so.
        detail: for operators.
    """

    def __init__(self, answer: Answer) -> None:
        said = json_object(answer.body)
        kind = str(said.get("type", ""))
        self.kind = kind.removeprefix(_PREFIX) if kind.startswith(_PREFIX) else ""
        self.status = answer.status
        self.retry_after = answer.retry_after
        self.detail = f"status {answer.status}: {problem_text(said)}"
        super().__init__(self.detail)


def failure(
    problem: AcmeProblemError, remote: Remote, *, finalizing: bool = False
) -> BackendRejected | BackendUnavailable:
    """Return what an order ends with.

    Args:
        problem: the server's answer.
        remote: the server.
        finalizing: it answers the request that hands over the CSR. By then the account has been
            found good, so ``unauthorized`` and ``badPublicKey`` are about what is in there.
    """
    verdicts = _VERDICTS | {"unauthorized", "badPublicKey"} if finalizing else _VERDICTS
    if problem.kind in verdicts:
        return refused(remote, problem.detail)
    rule = _NOT_TAKEN.get(problem.kind)
    if rule is None and problem.status == 429:
        rule = "ca.busy"
    return remote.unavailable(
        rule or "ca.unavailable",
        problem.detail,
        nothing_issued=rule is not None,
        retry_after=problem.retry_after or BUSY_FOR,
    )


def refused(remote: Remote, detail: str) -> BackendRejected:
    """Return the CA's verdict; `detail` is for operators only."""
    return BackendRejected(
        "ca.refused",
        "the CA refused the request",
        hint=f"CA {remote.name} at {remote.url}: {detail}",
    )


def json_object(body: bytes) -> Mapping[str, Any]:
    """Return a JSON object; an empty one if it is none."""
    try:
        read = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def problem_text(said: Mapping[str, Any]) -> str:
    """Return type, detail and subproblems (RFC 8555 6.7.1) of a problem document as one line."""
    parts = [said.get("type"), said.get("detail")]
    found = said.get("subproblems")
    for sub in found if isinstance(found, list) else ():
        if isinstance(sub, dict):
            named = sub.get("identifier")
            parts += [named.get("value") if isinstance(named, dict) else None, sub.get("detail")]
    text = ": ".join(str(part) for part in parts if part)
    return "".join(c for c in text[:_LONGEST] if c.isprintable())

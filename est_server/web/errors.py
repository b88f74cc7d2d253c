"""The one place that turns a failure into an HTTP answer (RFC 7030 4.2.3, RFC 8951 5).

A device gets a short text with the rule and the decision's id; what lies behind it is in `why` and
in the log. A 401 and a 202 have no body at all: BouncyCastle fails on one. An unknown failure shows
nothing of the inside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.errors import (
    BackendRejected,
    BackendUnavailable,
    Conflict,
    Denied,
    EstServerError,
    Malformed,
    NotFound,
    Pending,
    RateLimited,
    Unauthenticated,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_STATUS: tuple[tuple[type[EstServerError], int], ...] = (
    (Malformed, 400),
    (Unauthenticated, 401),
    (Denied, 403),
    (NotFound, 404),
    (Conflict, 409),
    (RateLimited, 429),
    (Pending, 202),
    (BackendRejected, 502),
    (BackendUnavailable, 503),
)
_STATUS_BY_RULE = {
    "body.too-large": 413,
    "body.timeout": 408,
    "body.media-type": 415,
    "operation.method": 405,
    # the CSR itself is at fault, not the asker (RFC 7030 4.2.3)
    "key.not-allowed": 400,
    "key.weak": 400,
    "pop.required": 400,
    # the verdict of the CA itself
    "ca.refused": 403,
    # the device's own earlier request is in the way
    "approval.differs": 409,
    "otp.required": 400,
    "csrattrs.missing": 400,
    "attestation.unknown-statement": 400,
    "keygen.two-keys": 400,
    "keygen.capabilities-missing": 400,
    "keygen.capabilities": 400,
    "keygen.unknown-key": 400,
    "keygen.encryption-required": 400,
    "subject.not-requested": 400,
}

_WITHOUT_TEXT = frozenset({"nonce.request", "nonce.type"})
"""draft-ietf-lamps-attestation-freshness: a malformed request gets 400 with an empty body."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, a text and headers; knows nothing of aiohttp."""

    status: int
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def answer_for(error: EstServerError, *, realm: str) -> Answer:
    """Return what the device is told about `error`.

    Args:
        error: any failure of the taxonomy.
        realm: of the HTTP Basic challenge.
    """
    status = _STATUS_BY_RULE.get(error.rule) or next(
        (code for kind, code in _STATUS if isinstance(error, kind)), 500
    )
    headers: dict[str, str] = {}
    if status == 401:
        # libest reads the first challenge only, needs a realm, and compares the scheme by case
        return Answer(401, "", {"WWW-Authenticate": f'Basic realm="{realm}"'})
    if isinstance(error, Pending | BackendUnavailable | Denied) and error.retry_after is not None:
        headers["Retry-After"] = str(max(1, error.retry_after))
    if status == 202 or error.rule in _WITHOUT_TEXT:
        return Answer(status, "", headers)
    text = f"{error.rule}: {error.message}"
    if isinstance(error, Denied) and error.decision_id is not None:
        text += f" (decision {error.decision_id})"
    return Answer(status, text + "\n", headers)

"""Nonces for evidence (draft-ietf-lamps-attestation-freshness): GET and POST /nonce.

Nobody authenticates for one. A device that has no certificate yet could not, and a nonce gives its
holder nothing: it is worth something on the same TLS session or with the same cookie only, inside
evidence that is signed, in a request that is authenticated. What it costs, a row until it expires,
is bounded for each address and for everybody together.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog

from est_server.enrollment.appraising import cookie_digest, session_digest
from est_server.errors import BackendUnavailable, Conflict, Malformed, NotFound
from est_server.ports.nonces import MOST_KEPT_OCTETS, Nonce
from est_server.ports.verifier import (
    Challenge,
    ChallengeContext,
    ChallengeRequest,
    EvidenceRefused,
)

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.attestation.policy import Policy
    from est_server.enrollment.rulebook import Rulebook
    from est_server.ports.clock import Clock
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.tls import TlsFacts
    from est_server.wire.freshness import NonceRequest

_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_AGAIN = 60

log = structlog.get_logger("attestation")


@dataclass(frozen=True, slots=True)
class IssuedNonce:
    """The answer: a nonce that is in the ledger.

    Attributes:
        nonce: empty if the device learns it from `info` alone.
        expiry: seconds.
        statement_type: what `info` is about.
        info: a verifier's; None without.
        cookie: to be sent back with the evidence where the TLS session is another one.
    """

    nonce: bytes
    expiry: int
    statement_type: str | None
    info: object
    cookie: str


async def issue_nonce(
    rulebook: Rulebook,
    ledger: Ledger,
    ephemeral: Ephemeral,
    clock: Clock,
    *,
    label: str | None,
    tls: TlsFacts,
    peer: str,
    cookie: str | None,
    wanted: NonceRequest,
) -> IssuedNonce:
    """Give out a nonce.

    Args:
        rulebook: the configuration.
        ledger: remembers its hash.
        ephemeral: counts.
        clock: the time.
        label: of the URL.
        tls: the connection.
        peer: the address that asks.
        cookie: what came back of an earlier nonce's.
        wanted: what is asked for.

    Raises:
        NotFound: ``label.unknown``; ``nonce.not-offered`` if the label takes no evidence.
        Malformed: ``nonce.type``: no rule reads such a statement; ``nonce.request``: its verifier
            can't read the info.
        BackendUnavailable: ``nonce.unavailable``: too many, or a verifier failed.
    """
    profile = rulebook.profile_for(label)
    if profile.model.attestation is None:
        raise NotFound("nonce.not-offered", "this label takes no evidence")
    if wait := await ephemeral.spend(f"nonce {peer}", rulebook.nonces.per_address):
        raise _unavailable("too many nonces were asked for", wait)
    now = clock()
    nonce = secrets.token_bytes(wanted.length)
    policy = rulebook.appraiser.policies[profile.model.attestation.policy]
    challenge = _challenge(policy, wanted, nonce, now)
    kept = json.dumps(dict(challenge.kept), separators=(",", ":"))
    if len(kept) > MOST_KEPT_OCTETS:
        log.error("challenge.too-large", type=wanted.statement_type, octets=len(kept))
        raise _unavailable("the challenge can't be kept")
    if cookie is None or not _COOKIE.fullmatch(cookie):
        cookie = secrets.token_urlsafe(32)
    freshness = profile.model.attestation.freshness
    record = Nonce(
        digest=sha256(nonce).digest(),
        label=label or "",
        session=session_digest(tls),
        cookie=cookie_digest(cookie),
        client=peer,
        created_at=now,
        expires_at=now + freshness,
        kept=kept,
    )
    caps = rulebook.nonces
    try:
        await ledger.nonces.add(record, most_per_client=caps.most_per_client, most=caps.most)
    except Conflict as conflict:
        raise _unavailable(conflict.message) from conflict
    return IssuedNonce(
        nonce=b"" if challenge.hidden else nonce,
        expiry=int(freshness.total_seconds()),
        statement_type=wanted.statement_type,
        info=challenge.info,
        cookie=cookie,
    )


def _challenge(policy: Policy, wanted: NonceRequest, nonce: bytes, now: datetime) -> Challenge:
    if wanted.statement_type is None:
        return Challenge()
    rule = next((one for one in policy.rules if wanted.statement_type in one.types), None)
    if rule is None:
        raise Malformed("nonce.type", f"no statement of type {wanted.statement_type} is read here")
    request = ChallengeRequest(wanted.statement_type, wanted.info)
    context = ChallengeContext(nonce, now, rule.settings, rule.policy, rule.trust)
    try:
        return rule.verifier.challenge(request, context)
    except EvidenceRefused as refusal:
        raise Malformed("nonce.request", "the verifier can't read reqInfo") from refusal
    except Exception as error:
        log.error("verifier.failed", verifier=rule.model.verifier, kind=type(error).__name__)  # noqa: TRY400 - a traceback would hold what the device sent
        raise _unavailable("the verifier failed") from error


def _unavailable(message: str, retry_after: int = _AGAIN) -> BackendUnavailable:
    return BackendUnavailable("nonce.unavailable", message, retry_after=retry_after)

"""The gate of a person's decision (RFC 7030 4.2.3): the last, so that nothing else refuses later.

An approval is for one question and for what its certificate would say. The same asker, operation,
label and key are one question; the names, extensions and whatever else is requested are its
content. While a question waits or is approved, the same one with other content is refused and told
which record it meets: nobody has seen those names. Once the record is denied, expired or issued,
other content is a new question. A denial stands for its own content until it expires, whatever
`when` says by then.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING

from est_server.profiles.attested import waits_for_approval
from est_server.profiles.decision import Gate
from est_server.profiles.facts import rule_facts, too_large
from est_server.profiles.rules import value
from est_server.profiles.texts import shown
from est_server.wire.attestation import ATTESTATION
from est_server.wire.challenges import CHALLENGES
from est_server.wire.der import children

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.ledger import Device
    from est_server.ports.pending import PendingRequest
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest

_NEW_EACH_TIME = frozenset({*CHALLENGES, ATTESTATION})
PENDING = "approval.pending"
"""The gate's name when somebody has to decide."""


def content_digest(csr: CertificationRequest) -> bytes:
    """Return the SHA-256 over what a request wants certified for its key.

    That is its subject and all its attributes, as sent, but for the three that are for the
    connection and the asker, and for evidence: they are new at every poll (RFC 7030 4.2.3).
    """
    _, subject, _, _ = children(csr.info_der)
    rest = sorted(
        (attribute.oid.encode(), *attribute.values)
        for attribute in csr.attributes
        if attribute.oid not in _NEW_EACH_TIME
    )
    digest = sha256()
    for part in (subject, *chain.from_iterable(rest)):
        digest.update(len(part).to_bytes(4, "big") + part)
    return digest.digest()


def standing(review: PendingRequest | None, now: datetime) -> PendingRequest | None:
    """Return the record if it still says something: not issued, not expired."""
    if review is None or review.state in {"issued", "expired"}:
        return None
    if review.state != "issuing" and review.expires_at <= now:
        return None
    return review


def approval_gate(
    profile: Profile,
    request: RequestFacts,
    device: Device | None,
    review: PendingRequest | None,
    now: datetime,
) -> Gate | None:
    """Return ``approval``, ``approval.pending``, ``approval.denied`` or ``approval.differs``.

    None where the profile asks nobody.
    """
    if profile.model.approval.mode == "none":
        return None
    at = profile.position("approval", "mode")
    # 1. what has been said about this question
    found = standing(review, now)
    if found is not None:
        same = found.content == content_digest(request.csr)
        if found.state == "denied":
            if same:
                detail = f"request {found.id} was denied: {shown(found.note)}"
                return Gate("approval.denied", ok=False, detail=detail, position=at)
        elif not same:
            detail = f"request {found.id} for the same key is open with other names or attributes"
            return Gate("approval.differs", ok=False, detail=detail, position=at)
        elif found.state == "approved":
            detail = f"request {found.id} was approved by {shown(found.decided_by or '')}"
            return Gate("approval", ok=True, detail=detail, position=at)
        elif found.state == "issuing":
            detail = f"request {found.id} is being issued"
            return Gate(PENDING, ok=None, detail=detail, position=at)
    # 2. whether anybody has to say something
    condition = profile.approval_when
    if condition is not None and not waits_for_approval(request):
        at = profile.position("approval", "when")
        facts = rule_facts(request, device, now)
        # what can't be judged waits (fail closed)
        if too_large(facts) is None and value(condition, facts) is False:
            detail = "not asked for: `when` does not hold"
            return Gate("approval", ok=None, detail=detail, position=at)
    detail = "an operator has to approve this request"
    return Gate(PENDING, ok=None, detail=detail, position=at)

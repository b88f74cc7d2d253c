"""The gate on evidence: what its appraisal came to, and what the policy wants done about it.

What a device is told is a code; what its evidence was held against stands in the decision's trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown

if TYPE_CHECKING:
    from datetime import timedelta

    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def attestation_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Return ``attestation``, or the code that refuses."""
    at = profile.position("attestation", "policy")
    result = request.attestation
    if result is None:
        detail = "no evidence was appraised, and this profile asks for it"
        return Gate("attestation.missing", ok=False, detail=detail, position=at)
    name, _ = result.policy
    if result.do == "refuse":
        return Gate(result.code, ok=False, detail=_told(request, name), position=at)
    detail = f"policy {name}: {result.status}"
    if result.do == "approve":
        detail += ", for a person to approve"
    if result.lifetime is not None:
        detail += ", with a shorter lifetime"
    return Gate("attestation", ok=True, detail=detail, position=at)


def attested_lifetime(profile: Profile, request: RequestFacts) -> timedelta:
    """Return the lifetime of the certificate: the profile's, or a shorter one of the policy's."""
    lifetime = profile.model.certificate.lifetime
    result = request.attestation
    if result is None or result.lifetime is None:
        return lifetime
    return min(lifetime, result.lifetime)


def waits_for_approval(request: RequestFacts) -> bool:
    """Tell whether the policy lets this request wait for a person."""
    return request.attestation is not None and request.attestation.do == "approve"


def _told(request: RequestFacts, policy: str) -> str:
    result = request.attestation
    if result is not None and result.code == "attestation.missing":
        return "evidence is missing: see /csrattrs and /nonce"
    if result is not None and result.code == "attestation.unknown-statement":
        # the device's own words back, so that its maker sees which statement is meant
        found = next(check for check in result.checks if not check.passed)
        return f"no statement of type {shown(found.actual)} is read here"
    return f"the evidence does not satisfy policy {policy}"

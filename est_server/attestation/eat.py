"""Entity Attestation Tokens (RFC 9711), as CWT or JWT, and the PSA profile of them (RFC 9783)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from est_server.attestation.reading import refusing
from est_server.attestation.tokens import TokenPolicy, believe, claimed_nonce, platform, shown
from est_server.ports.scalars import Oid, Strict
from est_server.ports.verifier import Challenge, Check, EvidenceRefused, VerifiedEvidence
from est_server.wire.eat import parse_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.verifier import (
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        Json,
        VerificationContext,
        Verifier,
    )

PSA = ("tag:psacertified.org,2023:psa#tfm", "tag:psacertified.org,2019:psa#legacy")
_SECURED = 0x30
_INSTANCE_ID, _IMPLEMENTATION_ID = 33, 32
_NONCES = frozenset({32, 48, 64})


class EatSettings(Strict):
    """``attestation.verifiers.eat`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.25.188462897538296218032280313291697402482",
        description="OID of the statement; none is assigned, this one is made of a UUID.",
    )


class EatPolicy(TokenPolicy):
    """A rule with ``verifier: eat``."""

    profiles: tuple[str, ...] = Field(
        default=(),
        description="eat_profile of the tokens that count; any without.",
        examples=[["tag:psacertified.org,2023:psa#tfm"]],
    )
    debug: Literal["disabled", "any"] = Field(
        default="disabled",
        description="What dbgstat, and the life cycle of a PSA device, have to be.",
    )


class EatToken:
    """The verifier ``eat``."""

    settings_model = EatSettings
    policy_model = EatPolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """See `Verifier`."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002
        """See `Verifier`."""
        return claimed_nonce(evidence)

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:  # noqa: ARG002
        """See `Verifier`."""
        return Challenge()

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """See `Verifier`.

        Raises:
            EvidenceRefused: what `believe` raises, ``eat.profile``, ``eat.psa``.
        """
        with refusing():
            token = parse_statement(evidence.statement)
        bound, fresh = believe(token, context)
        policy: EatPolicy = context.policy
        profile = token.claims.get("eat_profile")
        if policy.profiles and profile not in policy.profiles:
            raise EvidenceRefused("eat.profile", " ".join(policy.profiles), str(profile)[:200])
        claims = {name: shown(value) for name, value in token.claims.items() if name != "cnf"}
        checks = []
        if profile in PSA:
            _require_psa(token.claims)
            secured = token.claims["psa-security-lifecycle"] >> 8 == _SECURED
            claims["lifecycle"] = "secured" if secured else "not-secured"
            claims["components"] = _components(token.claims)
            checks.append(Check("lifecycle", "secured", str(claims["lifecycle"]), secured))
        else:
            status = token.claims.get("dbgstat", 0)
            actual = f"dbgstat {token.claims.get('dbgstat', 'not said')}"
            checks.append(Check("dbgstat", "1 or more", actual, status >= 1))
        return VerifiedEvidence(
            binds_key=bound,
            fresh=fresh,
            platform=platform(token.claims),
            claims=claims,
            checks=tuple(checks) if policy.debug == "disabled" else (),
        )


def _require_psa(claims: Mapping[str, Any]) -> None:
    """Return if the mandatory claims have their form (RFC 9783 4.1 to 4.4)."""
    instance, implementation = claims["ueid"], claims.get("psa-implementation-id")
    nonce, lifecycle = claims.get("eat_nonce"), claims.get("psa-security-lifecycle")
    if len(instance) != _INSTANCE_ID or instance[0] != 1:
        raise EvidenceRefused("eat.psa", "an instance id of 33 octets", instance.hex())
    if not isinstance(implementation, bytes) or len(implementation) != _IMPLEMENTATION_ID:
        raise EvidenceRefused("eat.psa", "an implementation id of 32 octets", "something else")
    if not isinstance(nonce, bytes) or len(nonce) not in _NONCES:
        raise EvidenceRefused("eat.psa", "a nonce of 32, 48 or 64 octets", "something else")
    if type(lifecycle) is not int or not 0 <= lifecycle <= 0xFFFF:
        raise EvidenceRefused("eat.psa", "a life cycle of 16 bits", "something else")


def _components(claims: Mapping[str, Any]) -> Json:
    """Return software components by type, so that a policy can name them.

    Several of one type are a list, which fits no reference value: the last of them must not hide
    the others.
    """
    found: dict[str, list[Json]] = {}
    for index, one in enumerate(claims.get("psa-software-components", [])):
        found.setdefault(str(shown(one.get("type", index))), []).append(shown(one))
    return {name: one[0] if len(one) == 1 else one for name, one in found.items()}


if TYPE_CHECKING:
    _fits: Verifier = EatToken()

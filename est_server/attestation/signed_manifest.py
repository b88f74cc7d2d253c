"""A signed manifest: what a device says that its configuration is, as JWS or COSE.

It is an assertion of software, not a measurement: a policy has to say that it knows (``declared:
true``), and puts a rule about hardware beside it. Its claims are those of an EAT, with
``config_digest`` and maybe ``sbom`` and ``config``, path -> SHA-256.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from est_server.attestation.reading import refusing
from est_server.attestation.tokens import TokenPolicy, believe, claimed_nonce, platform, shown
from est_server.attestation.tpm_policy import Sha256  # noqa: TC001 - pydantic reads it
from est_server.ports.scalars import Oid, Strict
from est_server.ports.verifier import Challenge, Check, EvidenceRefused, VerifiedEvidence
from est_server.wire.eat import parse_statement
from est_server.wire.jws import Jws

if TYPE_CHECKING:
    from est_server.ports.verifier import (
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        VerificationContext,
        Verifier,
    )

MOST_FILES = 256
_SAID = ("config_digest", "sbom", "config", "swname", "swversion", "iat", "ueid")


class ManifestSettings(Strict):
    """``attestation.verifiers.signed-manifest`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.25.70554061601816185466264017399503617635",
        description="OID of the statement; none is assigned, this one is made of a UUID.",
    )


class ManifestPolicy(TokenPolicy):
    """A rule with ``verifier: signed-manifest``."""

    declared: Literal["true"] = Field(
        description="The configuration is what the device says, nobody has measured it."
    )
    config_digests: tuple[Sha256, ...] = Field(
        default=(), description="Baseline configurations, SHA-256; any without."
    )


class SignedManifest:
    """The verifier ``signed-manifest``."""

    settings_model = ManifestSettings
    policy_model = ManifestPolicy
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
            EvidenceRefused: what `believe` raises, ``manifest.type``, ``manifest.claims``.
        """
        with refusing():
            token = parse_statement(evidence.statement)
        if isinstance(token.signed, Jws) and token.signed.kind != "eat+jwt":
            raise EvidenceRefused("manifest.type", "eat+jwt", token.signed.kind[:100])
        bound, fresh = believe(token, context)
        digest, files = token.claims.get("config_digest"), token.claims.get("config", {})
        if not isinstance(digest, str | bytes) or not isinstance(files, dict):
            raise EvidenceRefused("manifest.claims", "config_digest, config", "something else")
        if len(files) > MOST_FILES:
            raise EvidenceRefused("manifest.claims", f"{MOST_FILES} files", str(len(files)))
        claims = {name: shown(token.claims[name]) for name in _SAID if name in token.claims}
        wanted = context.policy.config_digests
        actual = str(claims["config_digest"])
        checks = [Check("config", " ".join(wanted), actual, actual in wanted)] if wanted else []
        return VerifiedEvidence(
            binds_key=bound,
            fresh=fresh,
            platform=platform(token.claims),
            claims={**claims, "declared": True},
            checks=tuple(checks),
        )


if TYPE_CHECKING:
    _fits: Verifier = SignedManifest()

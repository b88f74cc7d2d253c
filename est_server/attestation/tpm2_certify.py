"""A key that can't leave its TPM: TPM2_Certify, TPM2_CertifyCreation (TPM 2.0 Part 3, 18.2, 18.3).

The attestation key says of the CSR's key, by its Name, that it is loaded in this TPM; the second
command says that it was made there, and is the one that tpm2-tools can give a nonce to. The key's
public area, which the Name covers, says that the TPM made it and never gives it away.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from est_server.attestation.reading import refusing
from est_server.attestation.tpm_attester import require_fixed, require_strong
from est_server.attestation.tpm_challenge import credential_challenge
from est_server.attestation.tpm_evidence import believe, claimed_nonce, clock_claims
from est_server.attestation.tpm_policy import CertifySettings, TpmPolicy
from est_server.ports.verifier import EvidenceRefused, VerifiedEvidence
from est_server.wire.tpm_attest import QUOTE
from est_server.wire.tpm_public import Attributes, parse_public
from est_server.wire.tpm_statement import parse_certify

if TYPE_CHECKING:
    from typing import Any

    from est_server.ports.verifier import (
        Challenge,
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        VerificationContext,
        Verifier,
    )


class CertifyPolicy(TpmPolicy):
    """A rule with ``verifier: tpm2-certify``."""


class Tpm2Certify:
    """The verifier ``tpm2-certify``."""

    settings_model = CertifySettings
    policy_model = CertifyPolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """See `Verifier`."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002
        """See `Verifier`."""
        with refusing():
            return claimed_nonce(parse_certify(evidence.statement).attest)

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:
        """See `Verifier`, and `tpm_challenge`."""
        return credential_challenge(request.info, context.nonce, {})

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """See `Verifier`.

        Raises:
            EvidenceRefused: what `believe` raises, ``tpm2.not-a-certification``,
                ``tpm2.no-public``, ``tpm-public.…``, ``tpm2.name-mismatch``, ``tpm2.key-mismatch``,
                ``tpm2.key-imported``, ``tpm2.key-duplicable``, ``tpm2.key-restricted``,
                ``tpm2.key-does-not-sign``, ``tpm2.key-weak``.
        """
        with refusing():
            statement = parse_certify(evidence.statement)
        # (1) a TPM that counts said something now
        found = believe(
            statement.attest, statement.signature, evidence.certificates, context, context.policy
        )
        said = found.attest
        if said.kind == QUOTE:
            raise EvidenceRefused("tpm2.not-a-certification", "certify or creation", "quote")
        # (2) of this very public area
        if statement.public is None:
            raise EvidenceRefused("tpm2.no-public", "tpmTPublic", "none")
        with refusing():
            public = parse_public(statement.public)
        if not hmac.compare_digest(public.name, said.name):
            raise EvidenceRefused("tpm2.name-mismatch", said.name.hex(), public.name.hex())
        # (3) whose key is the CSR's
        if public.spki != context.spki:
            raise EvidenceRefused("tpm2.key-mismatch", "the certified key", "another in the CSR")
        # (4) made in the TPM, never leaves it, and signs what the device wants
        require_fixed(public, "tpm2.key")
        if Attributes.RESTRICTED in public.attributes:
            raise EvidenceRefused("tpm2.key-restricted", "a key that signs anything", "restricted")
        if Attributes.SIGN not in public.attributes:
            raise EvidenceRefused("tpm2.key-does-not-sign", "a signing key", "another")
        require_strong(public.key, "tpm2.key")
        return VerifiedEvidence(
            binds_key=True,
            fresh=True,
            platform=found.attester.platform,
            claims={**found.attester.claims, **clock_claims(said), "protection": "hardware"},
            checks=found.attester.checks,
        )


if TYPE_CHECKING:
    _fits: Verifier = Tpm2Certify()

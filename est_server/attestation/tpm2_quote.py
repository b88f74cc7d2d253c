"""What a platform booted: TPM2_Quote over platform configuration registers (TPM 2.0 Part 3, 18.4).

The TPM signs a digest over the registers it was asked for; the device sends their values, and they
are the TPM's if they give that digest. A policy compares values with reference values, and may ask
the event log, which must lead to the very same values, whether Secure Boot was on.

PCRs 16 and 23 can be reset by anybody who runs on the platform (TCG PC Client PTP 4.6.1): they
prove nothing and may be quoted beside others only.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from est_server.attestation.reading import refusing
from est_server.attestation.tpm_challenge import credential_challenge
from est_server.attestation.tpm_evidence import Believed, believe, claimed_nonce, clock_claims
from est_server.attestation.tpm_policy import QuoteSettings, TpmPolicy
from est_server.ports.verifier import Check, EvidenceRefused, VerifiedEvidence
from est_server.wire.tcg_event_log import parse_event_log, replay, secure_boot
from est_server.wire.tpm_algorithms import BANKS, HASHES, digest
from est_server.wire.tpm_attest import QUOTE
from est_server.wire.tpm_statement import parse_quote

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from est_server.ports.verifier import (
        Challenge,
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        Json,
        VerificationContext,
        Verifier,
    )
    from est_server.wire.tpm_statement import QuoteStatement

RESETTABLE = frozenset({16, 23})
_BANKS = {name: algorithm for algorithm, name in BANKS.items()}
Index = Annotated[int, Field(ge=0, le=23)]
Digest = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$")]


class QuotePolicy(TpmPolicy):
    """A rule with ``verifier: tpm2-quote``."""

    bank: Literal["sha256", "sha384", "sha512"] = Field(
        default="sha256", description="The one bank that a quote is over."
    )
    pcrs: dict[Index, tuple[Digest, ...]] = Field(
        default={},
        description="Reference values: register -> the values that it may have, in hexadecimal.",
        examples=[{"7": ["65caf8dd1e0ea7a6347b635d2b379c93b9a1351edc2afc3ecda700e234eb3068"]}],
    )
    required: tuple[Index, ...] = Field(
        default=(),
        description="Further registers that a quote has to cover, whatever their value.",
    )
    secure_boot: Literal["required", "any"] = Field(
        default="any", description="Whether the event log has to show Secure Boot on (UEFI)."
    )

    @field_validator("pcrs", "required")
    @classmethod
    def _proof(cls, value: Any) -> Any:
        found = RESETTABLE & {*value}
        if found:
            raise ValueError(f"PCR {min(found)} can be reset by whoever runs on the platform")
        return value

    def asked(self) -> list[int]:
        """Return the registers that a quote has to cover, ascending."""
        seven = {7} if self.secure_boot == "required" else set()
        return sorted({*self.pcrs, *self.required} | seven)


class Tpm2Quote:
    """The verifier ``tpm2-quote``."""

    settings_model = QuoteSettings
    policy_model = QuotePolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """See `Verifier`."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002
        """See `Verifier`."""
        with refusing():
            return claimed_nonce(parse_quote(evidence.statement).attest)

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:
        """See `Verifier`, and `tpm_challenge`; the device is told what to quote."""
        policy: QuotePolicy = context.policy
        told: dict[str, Json] = {"pcrs": {str(policy.bank): policy.asked()}}
        return credential_challenge(request.info, context.nonce, told)

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """See `Verifier`.

        Raises:
            EvidenceRefused: what `believe` raises, ``tpm2.not-a-quote``, ``tpm2.pcr-bank``,
                ``tpm2.pcr-resettable``, ``tpm2.pcr-values``, ``tpm2.pcr-digest``,
                ``event-log.…``.
        """
        policy: QuotePolicy = context.policy
        with refusing():
            statement = parse_quote(evidence.statement)
        # (1) a TPM that counts said something now
        found = believe(
            statement.attest, statement.signature, evidence.certificates, context, policy
        )
        if found.attest.kind != QUOTE:
            raise EvidenceRefused("tpm2.not-a-quote", "quote", "a certification")
        # (2) about these values of this bank
        values = _values(found, statement, _BANKS[policy.bank])
        # (3) which the log explains
        boot = _secure_boot(statement.event_log, values, _BANKS[policy.bank])
        claims: dict[str, Json] = {
            **found.attester.claims,
            **clock_claims(found.attest),
            "pcrs": {
                str(policy.bank): {str(index): value.hex() for index, value in values.items()}
            },
            "secure_boot": boot,
        }
        return VerifiedEvidence(
            binds_key=False,
            fresh=True,
            platform=found.attester.platform,
            claims=claims,
            checks=(*found.attester.checks, *_checks(policy, values, boot)),
        )


def _values(found: Believed, statement: QuoteStatement, bank: int) -> dict[int, bytes]:
    """Return the registers' values, if they are what the TPM has signed."""
    selected = [one for one in found.attest.selections if one.indices]
    if [one.bank for one in selected] != [bank]:
        names = " ".join(BANKS.get(one.bank, f"0x{one.bank:04x}") for one in selected)
        raise EvidenceRefused("tpm2.pcr-bank", BANKS[bank], names)
    indices = selected[0].indices
    if {*indices} <= RESETTABLE:
        raise EvidenceRefused("tpm2.pcr-resettable", "a register that can't be reset", str(indices))
    size = HASHES[bank].digest_size
    sent = tuple((one.bank, one.index, len(one.digest)) for one in statement.pcrs)
    if sent != tuple((bank, index, size) for index in indices):
        raise EvidenceRefused("tpm2.pcr-values", f"the values of {indices}", "others")
    together = digest(found.hash, b"".join(one.digest for one in statement.pcrs))
    if not hmac.compare_digest(together, found.attest.pcr_digest):
        raise EvidenceRefused("tpm2.pcr-digest", found.attest.pcr_digest.hex(), together.hex())
    return {one.index: one.digest for one in statement.pcrs}


def _secure_boot(log: bytes | None, values: Mapping[int, bytes], bank: int) -> bool | None:
    """Return what the log says, if it leads to the quoted values; None without a log."""
    if log is None:
        return None
    with refusing():
        events = parse_event_log(log)
        led_to = replay(events, bank)
        for index, value in led_to.items():
            if values.get(index, value) != value:
                expected = f"PCR {index} {values[index].hex()}"
                raise EvidenceRefused("event-log.replay", expected, value.hex())
        # what the TPM has not signed shows nothing
        return secure_boot(events, bank) if 7 in values and 7 in led_to else None


def _checks(policy: QuotePolicy, values: Mapping[int, bytes], boot: bool | None) -> list[Check]:
    missing = [index for index in policy.asked() if index not in values]
    asked = ", ".join(map(str, policy.asked()))
    covered = ", ".join(map(str, values))
    checks = [Check("pcr.covered", f"PCR {asked}", f"PCR {covered}", not missing)]
    for index, wanted in sorted(policy.pcrs.items()):
        actual = values[index].hex() if index in values else "not quoted"
        expected = f"PCR {index} ({policy.bank}) one of {' '.join(wanted)}"
        checks.append(Check("pcr", expected, f"PCR {index} {actual}", actual in wanted))
    if policy.secure_boot == "required":
        shown = {True: "on", False: "off", None: "not shown"}[boot]
        checks.append(Check("secure_boot", "on", shown, boot is True))
    return checks


if TYPE_CHECKING:
    _fits: Verifier = Tpm2Quote()

"""What every statement of a TPM goes through before it is read for what it says."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.attestation.reading import refusing
from est_server.attestation.tpm_attester import Attester, attester
from est_server.ports.verifier import EvidenceRefused
from est_server.wire.tpm_attest import CREATION, QUOTE, TpmAttest, parse_attest
from est_server.wire.tpm_signature import parse_signature, verify_tpm_signature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.attestation.tpm_policy import TpmPolicy
    from est_server.ports.verifier import Json, VerificationContext

_KINDS = {QUOTE: "quote", CREATION: "creation"}


@dataclass(frozen=True, slots=True)
class Believed:
    """A statement that the TPM behind `attester` made for this nonce.

    Attributes:
        attest: the statement.
        attester: who made it.
        hash: TPM_ALG_ID of its signature's hash.
    """

    attest: TpmAttest
    attester: Attester
    hash: int


def believe(
    attest: bytes,
    signature: bytes,
    certificates: Sequence[bytes],
    context: VerificationContext,
    policy: TpmPolicy,
) -> Believed:
    """Return what a TPM said, if a TPM that counts said it now.

    Args:
        attest: TPMS_ATTEST.
        signature: over exactly these octets.
        certificates: of the bundle.
        context: of the statement.
        policy: of the rule.

    Raises:
        EvidenceRefused: ``tpm-attest.…``, ``tpm-signature.…``, ``tpm2.…``, ``ek.…``, ``ak.…``.
    """
    # (1) whose key must have signed
    signer = attester(certificates, context, policy)
    with refusing():
        # (2) the signature, over exactly the octets that are read
        parsed = parse_signature(signature, signer.key, signer.bare_hash)
        verify_tpm_signature(parsed, signer.key, attest)
        # (3) magic, type, sizes
        said = parse_attest(attest)
    # (4) made for this request: nothing else proves that it is not a recording
    if context.nonce is None or not said.extra_data:
        raise EvidenceRefused("tpm2.no-nonce", "the nonce in extraData", "none")
    if not hmac.compare_digest(said.extra_data, context.nonce):
        raise EvidenceRefused("tpm2.nonce", "the nonce that was issued", "another")
    return Believed(said, signer, parsed.hash)


def claimed_nonce(attest: bytes) -> bytes | None:
    """Return extraData of an unverified statement.

    Raises:
        EvidenceRefused: ``tpm-attest.…``.
    """
    with refusing():
        return parse_attest(attest).extra_data or None


def clock_claims(said: TpmAttest) -> dict[str, Json]:
    """Return what the TPM says of itself.

    Its firmware version is hidden unless the AK is in the endorsement or platform hierarchy
    (TPM 2.0 Part 1, 36.7).
    """
    return {
        "statement": _KINDS.get(said.kind, "certify"),
        "firmware_version": f"{said.firmware_version:016x}",
        "clock": said.clock,
        "reset_count": said.reset_count,
        "restart_count": said.restart_count,
        "clock_safe": said.safe,
    }

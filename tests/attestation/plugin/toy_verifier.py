"""A verifier in a package of somebody else's: JSON, signed by a key that the policy names.

    stmt ::= SEQUENCE { payload OCTET STRING, signature OCTET STRING }   -- Ed25519 over the payload

The payload's members: nonce, spki (SHA-256), platform, claims; all may be missing. What a test
wants it to do wrong stands in `misbehave`.
"""

from __future__ import annotations

import json
import time
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from pydantic import BaseModel, ConfigDict, Field

from est_server.errors import BackendUnavailable
from est_server.ports.verifier import (
    Challenge,
    Check,
    EvidenceRefused,
    Platform,
    VerifiedEvidence,
)
from est_server.wire.der import children

OID = "1.3.6.1.4.1.32473.1.1"  # an arc for examples (RFC 5612)


class ToySettings(BaseModel):
    """Settings in server.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    statement_type: str = OID


class ToyPolicy(BaseModel):
    """Keys of a rule."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keys: tuple[str, ...] = Field(min_length=1, description="Ed25519 keys in hexadecimal")
    least_svn: int = 0


class ToyVerifier:
    """Reads toy statements."""

    settings_model = ToySettings
    policy_model = ToyPolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Any, settings: Any) -> bytes | None:
        payload, _, _ = _read(evidence)
        found = payload.get("nonce")
        return None if found is None else bytes.fromhex(found)

    def challenge(self, request: Any, context: Any) -> Challenge:
        if request.info == "garbage":
            raise EvidenceRefused("toy.info")
        if request.info == "fail":
            raise RuntimeError("a defect")
        if request.info == "hide":
            mask = bytes(octet ^ 0x5A for octet in context.nonce)
            return Challenge({"masked": mask.hex()}, hidden=True, kept={"hidden": True})
        return Challenge({"registers": [0, 7]}, kept={"asked": request.info})

    def verify(self, evidence: Any, context: Any) -> Any:
        payload, raw, signature = _read(evidence)
        match payload.get("misbehave"):
            case "raise":
                raise RuntimeError(f"a defect at {raw!r}")
            case "unavailable":
                raise BackendUnavailable("toy.away", "nobody answers")
            case "sleep":
                time.sleep(3)
            case "nothing":
                return True
        for key in context.policy.keys:
            try:
                Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(signature, raw)
            except InvalidSignature:
                continue
            break
        else:
            raise EvidenceRefused("toy.signature", "a key of the policy", "none fits")
        spki = payload.get("spki")
        if spki not in {None, sha256(context.spki).hexdigest()}:
            raise EvidenceRefused("toy.key-mismatch", sha256(context.spki).hexdigest(), spki)
        claims = {**payload.get("claims", {}), "kept": dict(context.kept)}
        svn = claims.get("svn", 0)
        least = context.policy.least_svn
        platform = payload.get("platform")
        return VerifiedEvidence(
            binds_key=spki is not None,
            fresh=context.nonce is not None,
            platform=frozenset() if platform is None else frozenset({Platform("toy", platform)}),
            claims=claims,
            checks=(Check("svn", f">= {least}", f"{svn}", svn >= least),),
        )


class SlowToyVerifier(ToyVerifier):
    """The same, as one that asks somebody else."""

    may_block = True


def _read(evidence: Any) -> tuple[dict[str, Any], bytes, bytes]:
    try:
        raw, signature = (child[2 if child[1] < 128 else 2 + (child[1] & 127) :]
                          for child in children(evidence.statement, 2))  # fmt: skip
        payload = json.loads(raw)
    except ValueError as error:
        raise EvidenceRefused("toy.encoding") from error
    if payload.get("misbehave") == "nonce":
        raise RuntimeError("a defect")
    return payload, raw, signature

"""What a rule of an appraisal policy says about a TPM, whatever its statement is about."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from est_server.ports.scalars import Oid, Strict

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Lower-case hexadecimal."""


class TpmPolicy(Strict):
    """Which TPMs count."""

    manufacturers: tuple[str, ...] = Field(
        default=(),
        description="TPM manufacturers as their EK certificates have them, id: and eight"
        " hexadecimal digits (TCG Vendor ID Registry); any without. id:00001014 is what software"
        " TPMs say.",
        examples=[["id:494E5443", "id:49465800"]],
    )
    ek_expired: Literal["refuse", "warn"] = Field(
        default="refuse",
        description="What an EK certificate beyond its time means; a chip outlives some of them.",
    )
    ek_keys: tuple[Sha256, ...] = Field(
        default=(),
        description="SHA-256 of the EKs (SubjectPublicKeyInfo) that may enroll; any without.",
    )
    revoked: tuple[Sha256, ...] = Field(
        default=(),
        description="SHA-256 of certificates or keys that count no more: EK, AK or CA.",
    )


class CertifySettings(Strict):
    """``attestation.verifiers.tpm2-certify`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.23.133.20.1",
        description="OID of the statement; the draft's samples have this one, not yet final.",
    )


class QuoteSettings(Strict):
    """``attestation.verifiers.tpm2-quote`` in server.yaml."""

    statement_type: Oid = Field(
        default="2.23.133.20.2",
        description="OID of the statement; not yet assigned by TCG.",
    )

"""What server.yaml says about attestation."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from est_server.ports.scalars import Duration, Strict


class Attestation(Strict):
    """Evidence from devices: where policies are, how verifiers are set up, caps on nonces."""

    policies: str = Field(
        default="policies", min_length=1, description="the folder of the appraisal policies"
    )
    verifiers: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="settings of verifiers, by the name that policies use"
    )
    most_nonces: int = Field(
        default=10000, ge=1, le=1000000, description="nonces that wait for evidence, of everybody"
    )
    most_nonces_per_client: int = Field(
        default=64, ge=1, le=1000000, description="likewise, of one address"
    )
    time_limit: Duration = Field(
        default=timedelta(seconds=5),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=1),
        description="for a verifier that asks somebody else",
    )

"""What a profile wants before it issues: of a request, and of a person."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from est_server.ports.scalars import Duration, Oid, Strict

ChallengeMeaning = Literal["binding", "otp"]


class ProofOfPossession(Strict):
    """What a CSR must carry beside its signature; what it carries is always checked."""

    channel_binding: Literal["required", "optional"] = Field(
        default="optional",
        description="whether the CSR must be bound to its TLS connection (RFC 7030 3.5, RFC 9266)",
    )
    challenge: ChallengeMeaning = Field(
        default="binding",
        alias="challenge_password",
        description="what a challengePassword is: the channel binding, as RFC 7030 has it, or a "
        "one-time password, as SCEP has it; estIdentityLinking and otpChallenge (RFC 7894) mean "
        "what they say either way",
    )
    otp: Literal["required", "optional"] = Field(
        default="optional",
        alias="one_time_password",
        description="whether an enrollment's CSR must hold the password of the credential whose "
        "user name is the asker's identity",
    )


class Attestation(Strict):
    """Evidence of what the device is (RFC 9334, draft-ietf-lamps-csr-attestation)."""

    policy: str = Field(
        min_length=1, description="name of the appraisal policy: policies/NAME.yaml"
    )
    freshness: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=10),
        le=timedelta(hours=1),
        description="how long a nonce of /nonce is good",
    )
    keep_evidence: Duration | None = Field(
        default=None,
        description="how long the evidence itself is kept beside its result; absent: not at all",
    )


class CsrAttributes(Strict):
    """What /csrattrs asks for beyond what the rest of the profile says (RFC 7030 4.5.2)."""

    publish: Literal["list-and-template", "list", "nothing"] = Field(
        default="list-and-template",
        description="the list that RFC 7030 made, with the template of RFC 9908 beside it, the "
        "list alone, or 204 No Content",
    )
    require: tuple[Oid, ...] = Field(
        default=(), max_length=16, description="attributes that every CSR must have"
    )
    require_extensions: tuple[Oid, ...] = Field(
        default=(), max_length=16, description="extensions that every CSR must ask for"
    )


class ServerKeyGeneration(Strict):
    """Keys made here for devices that can't (RFC 7030 4.4). Without it there are none."""

    algorithms: tuple[str, ...] = Field(
        default=("EC-P256",),
        min_length=1,
        description="what is made: the algorithm of the request's own key if it is among these, "
        "else the first",
    )
    encryption: Literal["required", "optional"] = Field(
        default="required",
        description="whether a key leaves only encrypted for a key of the device's, or also with "
        "no protection but its TLS connection",
    )


class Approval(Strict):
    """Whether a person has to approve what would be issued (RFC 7030 4.2.3)."""

    mode: Literal["none", "manual"] = Field(
        default="none",
        description="manual: a device is told to ask again (202) until somebody has decided; see "
        "`est-server request list`",
    )
    when: str | None = Field(
        default=None,
        min_length=1,
        max_length=4096,
        description="a CEL expression; only requests for which it is true wait. One that can't be "
        "evaluated waits too",
    )
    retry_after: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=60),
        le=timedelta(days=2),
        description="when a waiting device is asked to come again, 60s to 2d",
    )
    expires: Duration = Field(
        default=timedelta(days=7),
        ge=timedelta(minutes=5),
        description="how long a request waits for a decision, and the decision for the device",
    )

    @model_validator(mode="after")
    def _manual(self) -> Approval:
        if self.when is not None and self.mode == "none":
            raise ValueError("`when` means nothing without `mode: manual`")
        return self

"""What a profile wants to find in a request, and what it makes where a request has nothing."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from est_server.profiles.scalars import Oid, Strict

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

"""The gates on what a request carries beside its key: channel binding and one-time password."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.profiles.decision import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def proof_gates(profile: Profile, request: RequestFacts) -> Iterator[Gate]:
    """Yield ``pop``; ``pop.witness`` and ``otp`` where they were sent or are asked for."""
    yield _binding(profile, request)
    if request.pop_witness:
        yield _witness(request)
    required = profile.model.proof_of_possession.otp == "required"
    if required or request.otp != "absent":
        yield _one_time_password(profile, request, required=required)


def _binding(profile: Profile, request: RequestFacts) -> Gate:
    """Return ``pop``: is the request bound to its TLS connection (RFC 7030 3.5)?

    A value that does not fit is refused even where none is required: the request was made for
    another connection. A registrar forwards such requests, so its own are let through.
    """
    wanted = profile.model.proof_of_possession
    at = profile.position("proof_of_possession", "channel_binding")
    # RFC 7894 gives the value an attribute of its own where challengePassword means another thing
    attribute = "challengePassword" if wanted.challenge == "binding" else _LINKING
    if request.channel_binding == "matched":
        return Gate("pop", ok=True, detail="bound to this TLS connection", position=at)
    if request.channel_binding == "absent":
        if wanted.channel_binding == "required":
            detail = f"linking identity and proof of possession (RFC 7030 3.5) needs {attribute}"
            return Gate("pop.required", ok=False, detail=detail, position=at)
        return Gate("pop", ok=None, detail="not bound to its TLS connection", position=at)
    if request.registrar:
        detail = "bound to another connection, and forwarded by a registrar of ours (RFC 7030 3.7)"
        return Gate("pop", ok=None, detail=detail, position=at)
    if request.channel_binding == "mismatched":
        detail = "the value sent does not link this request to this TLS connection"
        return Gate("pop.mismatch", ok=False, detail=detail, position=at)
    detail = "a channel binding was sent, and this connection offers nothing to check it against"
    return Gate("pop.unavailable", ok=False, detail=detail, position=at)


def _witness(request: RequestFacts) -> Gate:
    """Return ``pop.witness``: who may say that somebody else's key was proven?"""
    if request.registrar:
        detail = "a registrar of ours verified the proof of possession (RFC 5272 6.7)"
        return Gate("pop.witness", ok=True, detail=detail)
    detail = "an RA POP Witness counts from a registrar only: id-kp-cmcRA, issued here"
    return Gate("pop.witness", ok=False, detail=detail)


def _one_time_password(profile: Profile, request: RequestFacts, *, required: bool) -> Gate:
    """Return ``otp``: does the CSR carry the asker's one-time password?

    A renewal shows the certificate that the password paid for, and needs none.
    """
    at = profile.position("proof_of_possession", "one_time_password")
    if request.otp == "matched":
        return Gate("otp", ok=True, detail="the one-time password is right", position=at)
    if request.otp == "mismatched":
        detail = "the one-time password in the CSR is wrong or expired"
        return Gate("otp.mismatch", ok=False, detail=detail, position=at)
    if required and request.operation != "simplereenroll":
        means = profile.model.proof_of_possession.challenge == "otp"
        attribute = "challengePassword" if means else "otpChallenge (RFC 7894 3.1)"
        detail = f"the CSR needs a one-time password in {attribute}"
        return Gate("otp.required", ok=False, detail=detail, position=at)
    return Gate("otp", ok=None, detail="a renewal needs no one-time password", position=at)


_LINKING = "estIdentityLinking (RFC 7894 3.3)"

"""The one-time password in a CSR: a second factor beside a certificate (RFC 7894 3.1).

The secret is that of an enrollment credential, the one kind of password that there is: kept as a
verifier, bound to a profile, limited in uses and in time. Which credential it is follows from who
asks: the one whose user name is the authenticated identity, and with HTTP Basic the one that
authenticated. A use is spent together with the certificate that it pays for, in one transaction, so
that a refused or lost request costs none; wrong passwords count against the same limits as HTTP
Basic's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from est_server.errors import Unauthenticated
from est_server.wire.attestation import ATTESTATION
from est_server.wire.challenges import CHALLENGE_PASSWORD, OTP_CHALLENGE, without_texts

if TYPE_CHECKING:
    from est_server.enrollment.authenticate import Authenticator
    from est_server.enrollment.request import EnrollmentRequest
    from est_server.profiles.decision import Identity, OneTimePassword, RequestFacts
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest


async def one_time_password(
    authenticator: Authenticator,
    profile: Profile,
    request: EnrollmentRequest,
    csr: CertificationRequest,
    identity: Identity,
) -> tuple[OneTimePassword, Identity]:
    """Return what became of the CSR's one-time password, and who asks with it.

    Where it is right, the identity names the credential, and so its certificate costs one use.

    Raises:
        RateLimited: too many wrong passwords.
    """
    sent = csr.otp_challenge
    if sent is None and profile.model.proof_of_possession.challenge == "otp":
        sent = csr.challenge_password
    if sent is None:
        return "absent", identity
    basic = request.credentials if identity.method == "credential" else None
    username = identity.name if basic is None else basic.username
    try:
        found = await authenticator.credential(profile, username, sent, request.peer)
    except Unauthenticated:
        return "mismatched", identity
    # whether a use is left is the ledger's to say when it spends one: a device that lost the answer
    # asks again with a password that is spent, and gets the same certificate
    return "matched", replace(identity, credential_id=found.id)


def secret_attributes(profile: Profile) -> frozenset[str]:
    """Return the attributes that nobody writes down under a profile.

    They hold a password; or evidence, which is kept apart and not for as long as a request.
    """
    if profile.model.proof_of_possession.challenge == "otp":
        return frozenset({OTP_CHALLENGE, CHALLENGE_PASSWORD, ATTESTATION})
    return frozenset({OTP_CHALLENGE, ATTESTATION})


def csr_to_keep(facts: RequestFacts) -> bytes:
    """Return the request as it may be written down.

    One that is refused holds a password that still works.
    """
    return without_texts(facts.csr, facts.secret_attributes)

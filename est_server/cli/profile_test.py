"""`profile test`: the production decision about a request that nobody sent.

Whoever asks is authenticated as far as that can be done without a connection: a certificate by the
same path validation as in production; a credential by its row, its password taken as right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.app.authorities import open_authorities
from est_server.app.clock import system_clock
from est_server.app.parts import rulebook_of
from est_server.cli.appraisal import appraised
from est_server.cli.options import opened
from est_server.enrollment.renewing import other_certificates, renewing_identity
from est_server.enrollment.request import EnrollmentRequest
from est_server.errors import EstServerError, Malformed, NotFound, Unauthenticated
from est_server.ports.ledger import Device
from est_server.ports.tls import TlsFacts
from est_server.profiles.decide import decide
from est_server.profiles.decision import Gate, Identity, RequestFacts, trace_json
from est_server.storage.memory import MemoryEphemeral
from est_server.wire.change_subject_name import change_subject_name
from est_server.wire.est_body import decode_body
from est_server.wire.pkcs10 import parse_csr, verify_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from est_server.enrollment.authenticate import Authenticator
    from est_server.ports.ledger import Ledger, Operation
    from est_server.profiles.decision import ChannelBinding, Decision, OneTimePassword
    from est_server.profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks for what; at most one of certificate, device and user name is given.

    Attributes:
        attributes: of a device that is supposed to be registered; None takes the register.
        at: the time to decide for; None is now.
    """

    profile: str
    csr: Path
    client_certificate: Path | None
    device: str | None
    attributes: Mapping[str, str] | None
    username: str | None
    operation: Operation
    channel_binding: ChannelBinding
    otp: OneTimePassword
    at: datetime | None


async def answer(question: Question, config: Path) -> dict[str, Any]:
    """Return verdict, gates and plan in JSON's types.

    Raises:
        NotFound: ``profile.unknown``.
        Malformed: the CSR is none; production would answer 400 without a decision.
    """
    async with opened(config) as (configuration, ledger):
        rollovers = await ledger.rollovers.all()
        authorities = await open_authorities(configuration, rollovers)
        rulebook = rulebook_of(configuration, authorities, ledger, MemoryEphemeral(), rollovers)
        if question.profile not in rulebook.profiles:
            hint = f"known: {', '.join(sorted(rulebook.profiles))}"
            raise NotFound(
                "profile.unknown", f"there is no profile {question.profile!r}", hint=hint
            )
        profile = rulebook.profiles[question.profile]
        now = question.at or system_clock()
        csr = parse_csr(decode_body(question.csr.read_bytes()).der)
        verify_signature(csr)
        try:
            # an authenticator reads its own clock: for another time it needs another one
            authenticator = replace(rulebook.authenticator, clock=lambda: now)
            identity = await _identity(question, profile, authenticator, ledger, now)
        except Unauthenticated as error:
            return _unauthenticated(profile, error, now)
        labels = (label for label, name in rulebook.labels.items() if name == profile.name)
        facts = RequestFacts(
            question.operation,
            next(labels, None),
            csr,
            await renewing_identity(profile, question.operation, identity, csr, ledger),
            question.channel_binding,
            question.otp,
            change=change_subject_name(csr),
        )
        if profile.model.attestation is not None:
            policy = rulebook.appraiser.policies[profile.model.attestation.policy]
            facts = replace(
                facts,
                attestation=await appraised(
                    policy, csr, ledger, nonce=None, identity=identity.name,
                    client_chain=_shown(question), at=now,
                ),
            )  # fmt: skip
        facts = replace(facts, others=await other_certificates(profile, facts, None, ledger))
        decision = decide(profile, facts, await _device(question, profile, identity, ledger), now)
        if (question.client_certificate, question.device, question.username) == (None,) * 3:
            decision = _nobody(profile, decision)
        return {
            "verdict": decision.verdict,
            "rule": decision.rule,
            "message": decision.message,
            "profile": profile.name,
            "profile_digest": profile.digest,
            "identity": identity.name,
            "at": now.isoformat(),
            **json.loads(decision.trace()),
        }


def _shown(question: Question) -> tuple[bytes, ...]:
    found = question.client_certificate
    return () if found is None else _chain(found)


async def _identity(
    question: Question,
    profile: Profile,
    authenticator: Authenticator,
    ledger: Ledger,
    now: datetime,
) -> Identity:
    if question.client_certificate is not None:
        chain = _chain(question.client_certificate)
        facts = TlsFacts("TLSv1.3", "", None, False, None, chain, None, None)
        request = EnrollmentRequest(question.operation, None, b"", facts, None, "profile test")
        return await authenticator.identify(profile, request)
    if question.username is not None:
        return await _credential(question.username, profile, ledger, now)
    return Identity(
        question.device or "", "credential", detail="as if by a credential of this device"
    )


async def _credential(username: str, profile: Profile, ledger: Ledger, now: datetime) -> Identity:
    """Return who a credential stands for, or what production would refuse it for."""
    found = await ledger.credential(username)
    if found is None:
        raise Unauthenticated("authentication.password", f"{username} has no live credential")
    if found.profile != profile.name:
        raise Unauthenticated("credential.profile", f"it is for profile {found.profile}")
    if found.expires_at is not None and found.expires_at <= now:
        raise Unauthenticated("credential.expired", f"it expired at {found.expires_at:%F %TZ}")
    if found.uses_allowed is not None and found.uses >= found.uses_allowed:
        raise Unauthenticated("credential.spent", f"all {found.uses_allowed} uses are spent")
    return Identity(
        found.device_id or username,
        "credential",
        credential_id=found.id,
        detail=f"credential {username}, its password taken as right",
    )


async def _device(
    question: Question, profile: Profile, identity: Identity, ledger: Ledger
) -> Device | None:
    if profile.model.registration == "none":
        return None
    found = await ledger.device(identity.name)
    if question.attributes is None:
        return found
    if found is not None:
        return replace(found, attributes=dict(question.attributes))
    return Device(identity.name, profile.name, system_clock(), attributes=dict(question.attributes))


def _chain(path: Path) -> tuple[bytes, ...]:
    try:
        chain = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise Malformed("client-certificate.pem", f"{path} holds no PEM certificates") from error
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in chain)


def _nobody(profile: Profile, decision: Decision) -> Decision:
    """Return the refusal of a request without an asker, with every gate that follows it."""
    detail = "nobody is named: give --device, --username or --client-cert"
    at = profile.position("authenticate")
    gate = Gate("authentication.missing", ok=False, detail=detail, position=at)
    return replace(
        decision,
        verdict="deny",
        rule=gate.rule,
        message=detail,
        gates=(gate, *decision.gates),
        plan=None,
    )


def _unauthenticated(profile: Profile, error: EstServerError, now: datetime) -> dict[str, Any]:
    """Return the refusal before a decision: nobody known asks, so nothing else is looked at."""
    at = profile.position("authenticate")
    gate = Gate(error.rule, ok=False, detail=error.message, position=at)
    return {
        "verdict": "deny",
        "rule": error.rule,
        "message": error.message,
        "profile": profile.name,
        "profile_digest": profile.digest,
        "identity": None,
        "at": now.isoformat(),
        **json.loads(trace_json((gate,), None)),
    }

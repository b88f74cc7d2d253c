"""The decision: one pure function, used by production, by `profile test` and by replay.

The gates, in order; the first that refuses names the decision's rule, the others are evaluated all
the same, so that an operator sees at once all that is wrong. A gate that passes is called by the
name in front; names are part of the product's contract.

 1. method      method.not-allowed, enroll.own-certificate
    anchors     anchors.implicit
 2. device      device.unknown, device.profile, device.quarantined, device.retired
 3. enroll      enroll.again, enroll.too-many
    alternate   alternate.revoked, alternate.held, alternate.presumed, alternate.expired
    registrar   registrar.revoked, registrar.held, registrar.presumed, registrar.expired,
                registrar.quarantined, registrar.retired, reenroll.certificate-unknown
    reenroll    reenroll.not-offered, reenroll.certificate-required, certificate.revoked,
                certificate.held, certificate.presumed, certificate.profile, certificate.expired,
                reenroll.too-early, reenroll.key-same, reenroll.key-new, reenroll.subject,
                reenroll.san, certificate.replaced
    names       names.change
 4. key         key.weak, key.compromised, key.not-allowed
    keygen      keygen.not-offered, keygen.two-keys, keygen.capabilities-missing,
                keygen.capabilities, keygen.unknown-key, keygen.encryption-required
 5. pop, otp    pop.mismatch, pop.unavailable, pop.required, pop.witness, otp.mismatch,
                otp.required;
    csrattrs    csrattrs.missing
    attestation attestation.missing, and the codes of the policy and its verifiers
 6. subject     subject.missing, subject.not-requested, subject.ambiguous, subject.invalid,
                subject.too-long, subject.not-allowed, subject.mismatch, subject.empty
 7. san         san.missing, san.invalid, san.too-many, san.not-allowed
 8. extension   extension.not-allowed
 9. validity    issuer.expired
10. rule.<name> the profile's own vetoes
11. approval    approval.denied, approval.differs; with approval.pending the verdict is pending
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.pki.plan import CertificatePlan
from est_server.ports.ledger import Device
from est_server.profiles.alternative_names import build_alternative_names
from est_server.profiles.approval import PENDING, approval_gate
from est_server.profiles.attested import attestation_gate, attested_lifetime
from est_server.profiles.decision import Decision, Gate
from est_server.profiles.demanded import csrattrs_gate
from est_server.profiles.enrolling import again_gate, with_changed_names
from est_server.profiles.extensions import extension_gate
from est_server.profiles.facts import rule_facts, too_large
from est_server.profiles.gates import (
    anchors_gate,
    device_gate,
    key_gate,
    method_gate,
    validity_gate,
)
from est_server.profiles.key_generation import generation_gates
from est_server.profiles.proof import proof_gates
from est_server.profiles.renewal import is_renewal, opens_in, renewal_gates
from est_server.profiles.rules import refusals
from est_server.profiles.subject import build_subject
from est_server.profiles.superseding import supersession

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.pending import PendingRequest
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def decide(
    profile: Profile,
    request: RequestFacts,
    device: Device | None,
    now: datetime,
    review: PendingRequest | None = None,
) -> Decision:
    """Decide about one request.

    Args:
        profile: the profile of the request's label.
        request: who asks for what, authenticated; the CSR's signature has been checked.
        device: the identity's device, if there is one.
        now: the time to decide for, aware.
        review: what is on record about the same question, if it was to be approved.

    Returns:
        The verdict with every gate and, unless refused, the certificate to be made. The same
        arguments give an equal decision.
    """
    # 1, 2: who asks
    gates = [
        method_gate(profile, request, now),
        *anchors_gate(profile, request),
        device_gate(profile, request, device),
    ]
    if device is None and profile.model.registration == "automatic":
        device = Device(request.identity.name, profile.name, now)
    # 3: a renewal, or one more; from here on a request asks for the names that it wants to have
    renewal = is_renewal(profile, request)
    rules = renewal_gates if renewal else again_gate
    gates += rules(profile, request, now)
    supersedes, found = supersession(profile, request, now)
    gates += found
    request, found = with_changed_names(profile, request, renewal=renewal)
    gates += found
    # 4, 5: the key and its proof, and what else the request has to bring
    if request.operation == "serverkeygen":
        gates += generation_gates(profile, request)
    else:
        gates.append(key_gate(profile, request))
    gates += proof_gates(profile, request)
    if profile.compiled.demands:
        gates.append(csrattrs_gate(profile, request))
    if profile.model.attestation is not None:
        gates.append(attestation_gate(profile, request))
    # 6, 7: the names
    subject, found = build_subject(profile, request, device)
    gates += found
    names, found = build_alternative_names(profile, request, device)
    if not subject.rdns and not names:
        # RFC 5280 4.1.2.6: a certificate names its subject in one place or the other
        at = profile.position("subject")
        detail = "neither a subject nor an alternative name comes out"
        gates.append(Gate("subject.empty", ok=False, detail=detail, position=at))
    gates += found
    # 8, 9: rights and times
    gates.append(extension_gate(profile, request))
    begin, end, gate = validity_gate(profile, now, attested_lifetime(profile, request))
    gates.append(gate)
    # 10: the profile's vetoes
    gates += _vetoes(profile, request, device, now)
    # 11: a person's decision
    approval = approval_gate(profile, request, device, review, now)
    if approval is not None:
        gates.append(approval)
    refused = [gate for gate in gates if gate.ok is False]
    if refused:
        return _refusal(profile, request, gates, refused, now)
    plan = CertificatePlan(
        ca=profile.issuer.name,
        subject=subject,
        subject_alternative_names=names,
        spki=request.csr.spki,
        key_algorithm=request.csr.key_algorithm,
        not_before=begin,
        not_after=end,
        key_usage=profile.model.certificate.key_usage,
        extended_key_usage=profile.compiled.extended_key_usage,
        certificate_policies=profile.model.certificate.certificate_policies,
        pointers=profile.compiled.pointers,
    )
    waits = approval is not None and approval.rule == PENDING
    return Decision(
        verdict="pending" if waits else "allow",
        rule=PENDING if waits else None,
        message=gates[-1].detail if waits else "allowed",
        gates=tuple(gates),
        plan=plan,
        profile=(profile.name, profile.digest),
        at=now,
        replaces=request.identity.certificate if renewal else None,
        retry_after=int(profile.model.approval.retry_after.total_seconds()) if waits else None,
        supersedes=supersedes,
        attestation=request.attestation,
    )


def _refusal(
    profile: Profile,
    request: RequestFacts,
    gates: list[Gate],
    refused: list[Gate],
    now: datetime,
) -> Decision:
    first = refused[0]
    # waiting helps where nothing else is wrong
    waits = len(refused) == 1 and first.rule == "reenroll.too-early"
    return Decision(
        verdict="deny",
        rule=first.rule,
        message=first.detail,
        gates=tuple(gates),
        plan=None,
        profile=(profile.name, profile.digest),
        at=now,
        retry_after=opens_in(profile, request, now) if waits else None,
        attestation=request.attestation,
    )


def _vetoes(
    profile: Profile, request: RequestFacts, device: Device | None, now: datetime
) -> list[Gate]:
    if not profile.rules:
        return []
    facts = rule_facts(request, device, now)
    if (problem := too_large(facts)) is not None:
        found: list[str | None] = [problem] * len(profile.rules)
    else:
        found = refusals(profile.rules, facts)
    return [
        Gate(
            f"rule.{rule.name}", refusal is None, refusal or "holds", profile.position("rules", at)
        )
        for at, (rule, refusal) in enumerate(zip(profile.rules, found, strict=True))
    ]

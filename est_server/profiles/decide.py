"""The decision: one pure function, used by production, by `profile test` and by replay.

The gates, in order; the first that fails names the rule, the rest are evaluated all the same so
that an operator sees everything that is wrong at once:

1. the proof of identity is one that the profile takes for this operation
2. the device is known, belongs to the profile and is in service
3. a renewal meets RFC 7030 4.2.2 and the profile's times
4. the key is allowed and sound
5. the request is bound to its TLS connection where that is required
6. subject and alternative names follow the profile's rules
7. requested extensions stay within the profile
8. the validity lies within the issuer's
9. the profile's own rules (vetoes in CEL)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from est_server.pki.names import general_name_text
from est_server.pki.plan import CertificatePlan, Pointers
from est_server.pki.usages import EXTENDED_KEY_USAGES
from est_server.profiles.decision import Decision, Gate
from est_server.profiles.gates import (
    binding_gate,
    device_gate,
    extension_gate,
    key_gate,
    method_gate,
    reenroll_gates,
)
from est_server.profiles.names import SUBJECT_OIDS, build_alternative_names, build_subject

if TYPE_CHECKING:
    from datetime import datetime

    from cryptography import x509

    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def decide(
    profile: Profile, request: RequestFacts, device: Device | None, now: datetime
) -> Decision:
    """Decide about one request.

    Args:
        profile: the profile of the request's label.
        request: who asks for what, authenticated.
        device: the identity's device, if there is one.
        now: the time to decide for, aware.

    Returns:
        The verdict with every gate and, if allowed, the certificate to be made.
    """
    now = now.replace(microsecond=0)
    gates = [method_gate(profile, request), device_gate(profile, request, device)]
    if request.operation == "simplereenroll":
        gates.extend(reenroll_gates(profile, request, now))
    gates.append(key_gate(profile, request))
    gates.append(binding_gate(profile, request))
    if device is None and profile.model.registration == "automatic":
        device = _new_device(profile, request, now)
    subject, found = build_subject(profile, request, device)
    gates.extend(found)
    names, found = build_alternative_names(profile, request, device)
    gates.extend(found)
    if not list(subject) and not names:
        # RFC 5280 4.1.2.6: a certificate names its subject in one place or the other
        at = profile.position("subject")
        gates.append(Gate("subject.empty", ok=False, detail="no name at all", position=at))
    gates.append(extension_gate(profile, request))
    begin, end, gate = _validity(profile, now)
    gates.append(gate)
    gates.extend(_rules(profile, request, device, subject, names, now))
    failed = next((gate for gate in gates if gate.ok is False), None)
    if failed is not None:
        return Decision(
            verdict="deny",
            rule=failed.rule,
            message=failed.detail,
            gates=tuple(gates),
            plan=None,
            profile=(profile.name, profile.digest),
            at=now,
            retry_after=_retry_after(profile, request, failed, now),
        )
    content = profile.model.certificate
    plan = CertificatePlan(
        ca=profile.model.ca,
        subject=subject,
        subject_alternative_names=names,
        spki=request.csr.spki,
        key_algorithm=request.csr.key_algorithm,
        not_before=begin,
        not_after=end,
        key_usage=content.key_usage,
        extended_key_usage=tuple(
            EXTENDED_KEY_USAGES.get(name, name) for name in content.extended_key_usage
        ),
        certificate_policies=content.certificate_policies,
        pointers=_pointers(profile),
    )
    return Decision(
        verdict="allow",
        rule=None,
        message="allowed",
        gates=tuple(gates),
        plan=plan,
        profile=(profile.name, profile.digest),
        at=now,
    )


def _new_device(profile: Profile, request: RequestFacts, now: datetime) -> Device:
    from est_server.ports.ledger import Device  # noqa: PLC0415 - the rare branch

    return Device(request.identity.name, profile.name, now)


def _validity(profile: Profile, now: datetime) -> tuple[datetime, datetime, Gate]:
    content = profile.model.certificate
    issuer = profile.issuer.certificate
    at = profile.position("certificate", "lifetime")
    first, last = issuer.not_valid_before_utc, issuer.not_valid_after_utc
    begin = max(now - content.backdate, first)
    end = begin + content.lifetime
    if last <= now:
        detail = f"CA {profile.model.ca} expired {last:%Y-%m-%d %H:%M:%S}Z"
        return begin, last, Gate("issuer.expired", ok=False, detail=detail, position=at)
    detail = f"{begin:%Y-%m-%d %H:%M:%S}Z to {min(end, last):%Y-%m-%d %H:%M:%S}Z"
    if end > last:
        detail += f", cut at the end of CA {profile.model.ca}"
    return begin, min(end, last), Gate("validity", ok=True, detail=detail, position=at)


def _pointers(profile: Profile) -> Pointers:
    wanted = profile.model.certificate.pointers
    urls = profile.issuer.pointers
    return Pointers(
        crl=urls.crl if "crl" in wanted else (),
        freshest_crl=urls.freshest_crl if "delta-crl" in wanted else (),
        ocsp=urls.ocsp if "ocsp" in wanted else (),
        ca_issuers=urls.ca_issuers if "ca-issuers" in wanted else (),
    )


def _rules(
    profile: Profile,
    request: RequestFacts,
    device: Device | None,
    subject: x509.Name,
    names: tuple[x509.GeneralName, ...],
    now: datetime,
) -> list[Gate]:
    if not profile.rules:
        return []
    facts = rule_facts(request, device, subject, names, now)
    gates = []
    for index, rule in enumerate(profile.rules):
        at = profile.position("rules", index)
        refusal = rule.refusal(facts)
        detail = "holds" if refusal is None else refusal
        gates.append(Gate(f"rule.{rule.name}", ok=refusal is None, detail=detail, position=at))
    return gates


def rule_facts(
    request: RequestFacts,
    device: Device | None,
    subject: x509.Name,
    names: tuple[x509.GeneralName, ...],
    now: datetime,
) -> dict[str, Any]:
    """Return what a rule can speak of: device, request, identity, certificate and now."""
    asked = request.csr
    return {
        "device": {}
        if device is None
        else {
            **device.attributes,
            "id": device.id,
            "profile": device.profile,
            "state": device.state,
        },
        "request": {
            "operation": request.operation,
            "label": request.label or "",
            "key": asked.key_algorithm,
            "subject": _subject_facts(asked.subject),
            "names": [general_name_text(name) for name in asked.subject_alternative_names],
        },
        "identity": {"name": request.identity.name, "method": request.identity.method},
        "certificate": {
            "subject": _subject_facts(subject),
            "names": [general_name_text(name) for name in names],
        },
        "now": now,
    }


def _subject_facts(name: x509.Name) -> dict[str, str]:
    facts = dict.fromkeys(SUBJECT_OIDS, "")
    for key, oid in SUBJECT_OIDS.items():
        for attribute in name.get_attributes_for_oid(oid)[:1]:
            facts[key] = str(attribute.value)
    return facts


def _retry_after(
    profile: Profile, request: RequestFacts, failed: Gate, now: datetime
) -> int | None:
    rules, old = profile.model.reenroll, request.identity.certificate
    if failed.rule != "reenroll.too-early" or rules is None or old is None or rules.window is None:
        return None
    return int((old.not_after - rules.window - now).total_seconds())

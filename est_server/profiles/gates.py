"""The gates on who asks and with which key; each looks at one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from est_server.pki.keys import key_allowed, weakness
from est_server.profiles.decision import Gate
from est_server.profiles.enrolling import own_certificate_gate
from est_server.profiles.texts import shown, shown_time

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def method_gate(profile: Profile, request: RequestFacts, now: datetime) -> Gate:
    """Return ``method``: does the profile take this proof of identity for this operation?"""
    identity = request.identity
    if request.operation == "simplereenroll":
        # RFC 7030 4.2.2 knows one proof only; the renewal's gates ask for it
        return Gate("method", ok=None, detail="a renewal shows the current certificate")
    if identity.method == "own-certificate":
        return own_certificate_gate(profile, request, now)
    at = profile.position("authenticate")
    if identity.method in profile.compiled.methods:
        return Gate("method", ok=True, detail=shown(identity.detail), position=at)
    allowed = " or ".join(sorted(profile.compiled.methods)) or "nothing"
    detail = f"{identity.method} was used; this profile takes {allowed}"
    return Gate("method.not-allowed", ok=False, detail=detail, position=at)


def anchors_gate(profile: Profile, request: RequestFacts) -> list[Gate]:
    """Return ``anchors``: may a certificate lead to an anchor that came with the system?

    RFC 7030 3.3.2: explicit and implicit anchors are told apart, since nobody chose the implicit
    ones for enrollment.
    """
    identity = request.identity
    if identity.anchors != "implicit":
        return []
    renewal = profile.model.reenroll
    methods = [method.client_certificate for method in profile.model.authenticate]
    methods += () if renewal is None else renewal.other_cas
    accepted = any(
        wanted is not None and wanted.trust == identity.trust and wanted.implicit == "accept"
        for wanted in methods
    )
    at = profile.position("authenticate")
    detail = f"the certificate leads to an implicit trust anchor, in trust store {identity.trust}"
    rule = "anchors" if accepted else "anchors.implicit"
    return [Gate(rule, ok=accepted, detail=detail, position=at)]


def device_gate(profile: Profile, request: RequestFacts, device: Device | None) -> Gate:
    """Return ``device``: is it known, of this profile, and in service?"""
    at = profile.position("registration")
    registration = profile.model.registration
    if registration == "none":
        return Gate("device", ok=None, detail="this profile has no devices", position=at)
    if device is None:
        name = shown(request.identity.name)
        if registration == "automatic":
            detail = f"device {name} is registered with its first certificate"
            return Gate("device", ok=True, detail=detail, position=at)
        detail = f"device {name} is not registered"
        return Gate("device.unknown", ok=False, detail=detail, position=at)
    name = shown(device.id)
    if device.profile != profile.name:
        detail = f"device {name} belongs to profile {device.profile}, this is {profile.name}"
        return Gate("device.profile", ok=False, detail=detail, position=at)
    if device.state != "active":
        detail = f"device {name} is {device.state}"
        return Gate(f"device.{device.state}", ok=False, detail=detail, position=at)
    return Gate("device", ok=True, detail=f"device {name} is active", position=at)


def key_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Return ``key``: is the key sound, uncompromised, and of an algorithm that is allowed?"""
    at = profile.position("key", "allow")
    csr = request.csr
    if csr.public_key is None:
        return Gate("key.weak", ok=False, detail="the request has no key", position=at)
    if (problem := weakness(csr.public_key)) is not None:
        return Gate("key.weak", ok=False, detail=problem, position=at)
    if request.key_compromised:
        # whoever has it could ask for as many certificates as the device
        detail = "a certificate with this key was revoked for keyCompromise: make a new key"
        return Gate("key.compromised", ok=False, detail=detail, position=at)
    allow = profile.model.key.allow
    if key_allowed(allow, csr.key_algorithm):
        return Gate("key", ok=True, detail=csr.key_algorithm, position=at)
    detail = f"{csr.key_algorithm} is not allowed; this profile takes {', '.join(allow)}"
    return Gate("key.not-allowed", ok=False, detail=detail, position=at)


def validity_gate(
    profile: Profile, now: datetime, lifetime: timedelta
) -> tuple[datetime, datetime, Gate]:
    """Return notBefore, notAfter and the gate ``validity``: within the issuer's, whole seconds.

    Spans are compared, never added to a time that might not hold them.
    """
    now = now.replace(microsecond=0)
    content = profile.model.certificate
    issuer = profile.issuer.certificate
    first, last = issuer.not_valid_before_utc, issuer.not_valid_after_utc
    begin = now - content.backdate if now - first > content.backdate else first
    cut = last - begin < lifetime
    end = last if cut else begin + lifetime
    at = profile.position("certificate", "lifetime")
    if end <= now:
        detail = f"CA {profile.issuer.name} ends {shown_time(last)}; a certificate would be over"
        return begin, end, Gate("issuer.expired", ok=False, detail=detail, position=at)
    detail = f"{shown_time(begin)} to {shown_time(end)}"
    if cut:
        detail += f", cut at the end of CA {profile.issuer.name}"
    return begin, end, Gate("validity", ok=True, detail=detail, position=at)

"""The gates that a request passes before its names are made; each looks at one thing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509

from est_server.pki.keys import key_allowed, weakness
from est_server.pki.names import general_names_equal, name_text, names_equal
from est_server.pki.usages import EXTENDED_KEY_USAGES, key_usage_names
from est_server.profiles.decision import Gate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord, Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def method_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Does the profile take this proof of identity for this operation?"""
    identity = request.identity
    if identity.method == "own-certificate":
        # RFC 7030 4.2.1: never silently turned into a renewal
        ok = request.operation == "simplereenroll"
        at = profile.position("reenroll")
        rule = "method" if ok else "enroll.own-certificate"
        detail = identity.detail if ok else "a certificate of ours renews at simplereenroll"
        return Gate(rule, ok=ok, detail=detail, position=at)
    at = profile.position("authenticate")
    wanted = "credential" if identity.method == "credential" else "client_certificate"
    if any(getattr(method, wanted) is not None for method in profile.model.authenticate):
        return Gate("method", ok=True, detail=identity.detail, position=at)
    return Gate("method.not-allowed", ok=False, detail=f"no {identity.method} here", position=at)


def device_gate(profile: Profile, request: RequestFacts, device: Device | None) -> Gate:
    """Is the device known, ours, and in service?"""
    at = profile.position("registration")
    name = request.identity.name
    if profile.model.registration == "none":
        return Gate("device", ok=None, detail="this profile has no devices", position=at)
    if device is None:
        if profile.model.registration == "automatic":
            detail = f"{name} is registered with this enrollment"
            return Gate("device", ok=True, detail=detail, position=at)
        detail = f"device {name} is not registered"
        return Gate("device.unknown", ok=False, detail=detail, position=at)
    if device.profile != profile.name:
        detail = f"device {device.id} belongs to profile {device.profile}"
        return Gate("device.profile", ok=False, detail=detail, position=at)
    if device.state != "active":
        detail = f"device {device.id} is {device.state}"
        return Gate(f"device.{device.state}", ok=False, detail=detail, position=at)
    return Gate("device", ok=True, detail=f"device {device.id} is active", position=at)


def reenroll_gates(profile: Profile, request: RequestFacts, now: datetime) -> Iterator[Gate]:
    """Yield what a renewal must meet (RFC 7030 4.2.2)."""
    rules = profile.model.reenroll
    at = profile.position("reenroll")
    if rules is None:
        yield Gate("reenroll.not-offered", ok=False, detail="no reenroll section", position=at)
        return
    old = request.identity.certificate
    if old is None or old.der is None:
        detail = "a renewal needs the current certificate on the TLS connection"
        yield Gate("reenroll.certificate-required", ok=False, detail=detail, position=at)
        return
    if old.profile != profile.name:
        detail = f"the certificate was issued under profile {old.profile}"
        yield Gate("certificate.profile", ok=False, detail=detail, position=at)
    if old.status != "good":
        detail = f"the certificate is {old.status}"
        yield Gate(f"certificate.{old.status}", ok=False, detail=detail)
    yield _time_gate(profile, old, now)
    same = request.csr.public_key == (was := x509.load_der_x509_certificate(old.der)).public_key()
    found = "same" if same else "new"
    ok = rules.key in {found, "new-or-same"}
    rule = "reenroll.key" if ok else f"reenroll.key-{found}"
    detail = f"{found} key; this profile takes {rules.key}"
    yield Gate(rule, ok=ok, detail=detail, position=profile.position("reenroll", "key"))
    yield from _same_names(profile, request, was)


def _time_gate(profile: Profile, old: CertificateRecord, now: datetime) -> Gate:
    rules = profile.model.reenroll
    if rules is None:
        raise ValueError("a renewal gate without a reenroll section")
    end = old.not_after
    if now > end + rules.grace_after_expiry:
        at = profile.position("reenroll", "grace_after_expiry")
        detail = f"the certificate expired {end:%Y-%m-%d %H:%M:%S}Z, grace is over"
        return Gate("certificate.expired", ok=False, detail=detail, position=at)
    at = profile.position("reenroll", "window")
    if rules.window is not None and now < end - rules.window:
        detail = f"renewal opens {end - rules.window:%Y-%m-%d %H:%M:%S}Z"
        return Gate("reenroll.too-early", ok=False, detail=detail, position=at)
    return Gate("reenroll.time", ok=True, detail=f"expires {end:%Y-%m-%d %H:%M:%S}Z", position=at)


def _same_names(profile: Profile, request: RequestFacts, old: x509.Certificate) -> Iterator[Gate]:
    """RFC 7030 4.2.2: Subject and SubjectAltName MUST be identical to the current certificate's."""
    at = profile.position("reenroll")
    csr = request.csr
    same = names_equal(csr.subject, old.subject)
    detail = f"asked {name_text(csr.subject)!r}, current {name_text(old.subject)!r}"
    yield Gate("reenroll.subject", ok=same, detail=detail, position=at)
    try:
        san = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        current = tuple(san)
    except x509.ExtensionNotFound:
        current = ()
    same = general_names_equal(csr.subject_alternative_names, current)
    detail = f"{len(csr.subject_alternative_names)} names asked, {len(current)} current"
    yield Gate("reenroll.san", ok=same, detail=detail, position=at)


def key_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Is the key of an allowed algorithm, and sound?"""
    at = profile.position("key", "allow")
    csr = request.csr
    if (problem := weakness(csr.public_key)) is not None:
        return Gate("key.weak", ok=False, detail=problem, position=at)
    if key_allowed(profile.model.key.allow, csr.key_algorithm):
        return Gate("key", ok=True, detail=csr.key_algorithm, position=at)
    allowed = ", ".join(profile.model.key.allow)
    detail = f"{csr.key_algorithm} is not one of {allowed}"
    return Gate("key.not-allowed", ok=False, detail=detail, position=at)


def binding_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Is the request bound to its TLS connection (RFC 7030 3.5)?"""
    at = profile.position("proof_of_possession", "channel_binding")
    required = profile.model.proof_of_possession.channel_binding == "required"
    match request.channel_binding:
        case "matched":
            return Gate("pop", ok=True, detail="bound to the TLS connection", position=at)
        case "mismatched":
            detail = "the challengePassword is not this TLS connection's binding"
            return Gate("pop.mismatch", ok=False, detail=detail, position=at)
        case "unavailable":
            detail = "a challengePassword was sent, but this connection has nothing to compare"
            return Gate("pop.unavailable", ok=False, detail=detail, position=at)
    if required:
        detail = "the challengePassword that links identity and proof of possession is missing"
        return Gate("pop.required", ok=False, detail=detail, position=at)
    return Gate("pop", ok=None, detail="not bound to the TLS connection", position=at)


def extension_gate(profile: Profile, request: RequestFacts) -> Gate:
    """Does the request ask for extensions or usages that the profile does not give?

    Nothing is copied from here: the certificate is made from the profile alone.
    """
    content = profile.model.certificate
    refused = [
        text
        for extension in request.csr.extensions
        if (text := _beyond(profile, extension)) is not None
    ]
    at = profile.position("certificate", "on_extra_extension")
    if not refused:
        return Gate("extension", ok=True, detail="asks for nothing beyond the profile", position=at)
    detail = "asks for " + ", ".join(refused)
    if content.on_extra_extension == "drop":
        return Gate("extension.dropped", ok=True, detail=detail + "; not given", position=at)
    return Gate("extension.not-allowed", ok=False, detail=detail, position=at)


def _beyond(profile: Profile, extension: x509.Extension[x509.ExtensionType]) -> str | None:
    """Return what this requested extension asks for beyond the profile, in words."""
    content = profile.model.certificate
    match extension.value:
        case x509.SubjectAlternativeName() | x509.SubjectKeyIdentifier():
            return None  # judged with the names; computed, whatever is asked
        case x509.BasicConstraints() as basic:
            return "a CA certificate" if basic.ca else None
        case x509.KeyUsage() as usage:
            extra = set(key_usage_names(usage)) - set(content.key_usage)
            return f"key usage {', '.join(sorted(extra))}" if extra else None
        case x509.ExtendedKeyUsage() as purposes:
            given = {EXTENDED_KEY_USAGES.get(name, name) for name in content.extended_key_usage}
            beyond = {purpose.dotted_string for purpose in purposes} - given
            return f"extended key usage {', '.join(sorted(beyond))}" if beyond else None
    return f"extension {extension.oid.dotted_string}"

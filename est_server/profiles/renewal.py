"""The gates of a renewal: RFC 7030 4.2.2, and when and how a profile lets one happen.

The current certificate is our own record of what the TLS connection showed; whether it is still
good is decided here, since an expired one may renew itself within the profile's grace.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.pki.certificates import read_certificate
from est_server.pki.names import general_names_equal, names_equal
from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown, shown_names, shown_subject, shown_time

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.profiles.asking import Reenroll
    from est_server.profiles.decision import Identity, RequestFacts, Standin
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest


def is_renewal(profile: Profile, request: RequestFacts) -> bool:
    """Tell whether a request renews a certificate, by its operation or by the profile's rule."""
    if request.operation == "simplereenroll":
        return True
    by_rule = profile.model.enroll.own_certificate == "renew"
    return by_rule and request.identity.method == "own-certificate"


def wants_names(profile: Profile, request: RequestFacts) -> bool:
    """Tell whether the request's names are a wish, not the repetition that a renewal owes."""
    return request.change is not None or not is_renewal(profile, request)


def renewal_gates(profile: Profile, request: RequestFacts, now: datetime) -> list[Gate]:
    """Return the gates ``reenroll.*`` and ``certificate.*``."""
    rules = profile.model.reenroll
    at = profile.position("reenroll")
    gates = []
    # 1. the profile offers it
    if rules is None:
        detail = f"profile {profile.name} has no reenroll section"
        gates.append(Gate("reenroll.not-offered", ok=False, detail=detail, position=at))
    # 2. what stands for the current certificate may (RFC 7030 3.3.2, 3.7)
    if (standin := request.identity.standin) is not None:
        gates.append(_standin_gate(profile, standin, now))
    # 3. the current certificate is there (RFC 7030 3.3.2, 4.2.2), good, and this profile's
    old = _current(request.identity)
    if old is None:
        gates.append(_missing(profile, request.identity))
        return gates
    gates.append(_status_gate(profile, request.identity))
    # 4. it is time, and the key is one that may come
    if rules is not None:
        gates.append(_time_gate(profile, rules, old.not_valid_after_utc, now))
        gates.append(_key_gate(profile, rules, request, old))
    # 5. the names are the current ones
    gates.extend(_same_names(profile, request, old))
    return gates


def opens_in(profile: Profile, request: RequestFacts, now: datetime) -> int | None:
    """Return the whole seconds until the renewal window opens; None if it is not waited for."""
    rules, old = profile.model.reenroll, _current(request.identity)
    if rules is None or rules.window is None or old is None:
        return None
    return max(1, ceil((old.not_valid_after_utc - now - rules.window).total_seconds()))


def has_names(csr: CertificationRequest, certificate: x509.Certificate) -> bool:
    """Tell whether a request repeats a certificate's names (RFC 7030 4.2.2)."""
    return names_equal(csr.subject, certificate.subject) and general_names_equal(
        csr.subject_alternative_names, _alternative_names(certificate)
    )


def _current(identity: Identity) -> x509.Certificate | None:
    """Return the certificate that is renewed."""
    record = identity.certificate
    if identity.method in {"own-certificate", "registrar"} and record is not None:
        return None if record.der is None else read_certificate(record.der)
    if identity.foreign is not None:
        return read_certificate(identity.foreign)
    return None


def _missing(profile: Profile, identity: Identity) -> Gate:
    at = profile.position("reenroll")
    if identity.method == "registrar":
        at = profile.position("reenroll", "registrar", "find")
        return Gate("reenroll.certificate-unknown", ok=False, detail=identity.detail, position=at)
    detail = "a renewal needs the current certificate, issued here, on its TLS connection"
    return Gate("reenroll.certificate-required", ok=False, detail=detail, position=at)


def _standin_gate(profile: Profile, standin: Standin, now: datetime) -> Gate:
    kind, used, device = standin.kind, standin.certificate, standin.device
    at = profile.position("reenroll", "alternates" if kind == "alternate" else "registrar")
    number = f"{kind}'s certificate {used.serial_number:x}"
    if used.status != "good":
        detail = f"the {number} is {used.status}"
        return Gate(f"{kind}.{used.status}", ok=False, detail=detail, position=at)
    if used.not_after < now:
        detail = f"the {number} expired {shown_time(used.not_after)}"
        return Gate(f"{kind}.expired", ok=False, detail=detail, position=at)
    if device is not None and device.state != "active":
        detail = f"{kind} {shown(device.id)} is {device.state}"
        return Gate(f"{kind}.{device.state}", ok=False, detail=detail, position=at)
    return Gate(kind, ok=True, detail=f"by the {number} of {shown(used.identity)}", position=at)


def _status_gate(profile: Profile, identity: Identity) -> Gate:
    at = profile.position("reenroll")
    old = identity.certificate
    if old is None:
        at = profile.position("reenroll", "other_cas")
        return Gate("certificate", ok=True, detail=shown(identity.detail), position=at)
    if old.status != "good":
        detail = f"certificate {old.serial_number:x} is {old.status}"
        return Gate(f"certificate.{old.status}", ok=False, detail=detail, position=at)
    if old.profile != profile.name:
        detail = f"the certificate was issued under profile {old.profile}, this is {profile.name}"
        return Gate("certificate.profile", ok=False, detail=detail, position=at)
    return Gate("certificate", ok=True, detail=f"{old.serial_number:x} is good", position=at)


def _time_gate(profile: Profile, rules: Reenroll, end: datetime, now: datetime) -> Gate:
    if now - end > rules.grace_after_expiry:
        at = profile.position("reenroll", "grace_after_expiry")
        detail = f"the certificate expired {shown_time(end)}, and its grace is over"
        return Gate("certificate.expired", ok=False, detail=detail, position=at)
    at = profile.position("reenroll", "window")
    if rules.window is not None and end - now > rules.window:
        detail = f"renewal opens {shown_time(end - rules.window)}"
        return Gate("reenroll.too-early", ok=False, detail=detail, position=at)
    return Gate("reenroll.time", ok=True, detail=f"expires {shown_time(end)}", position=at)


def _key_gate(
    profile: Profile, rules: Reenroll, request: RequestFacts, old: x509.Certificate
) -> Gate:
    same = request.csr.spki == old.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )
    found = "same" if same else "new"
    ok = rules.key in {found, "new-or-same"}
    at = profile.position("reenroll", "key")
    detail = f"a renewal takes {rules.key} key; this request has the {found} one"
    return Gate("reenroll.key" if ok else f"reenroll.key-{found}", ok, detail, at)


def _same_names(profile: Profile, request: RequestFacts, old: x509.Certificate) -> list[Gate]:
    """RFC 7030 4.2.2: subject and subjectAltName MUST be identical to the current certificate's."""
    at = profile.position("reenroll")
    csr = request.csr
    same = names_equal(csr.subject, old.subject)
    detail = shown_subject(csr.subject)
    if not same:
        detail = f"expected {shown_subject(old.subject)}, found {detail}"
    subject = Gate("reenroll.subject", ok=same, detail=detail, position=at)
    current = _alternative_names(old)
    same = general_names_equal(csr.subject_alternative_names, current)
    detail = shown_names(csr.subject_alternative_names)
    if not same:
        detail = shown(f"expected {shown_names(current)}, found {detail}")
    return [subject, Gate("reenroll.san", ok=same, detail=detail, position=at)]


def _alternative_names(certificate: x509.Certificate) -> tuple[x509.GeneralName, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(san)

"""The gates of a renewal: RFC 7030 4.2.2, and when and how a profile lets one happen.

The current certificate is our own record of what the TLS connection showed; whether it is still
good is decided here, since an expired one may renew itself within the profile's grace.
"""

from __future__ import annotations

from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.pki.names import general_names_equal, names_equal
from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown, shown_names, shown_subject, shown_time

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.model import Reenroll
    from est_server.profiles.profile import Profile


def renewal_gates(profile: Profile, request: RequestFacts, now: datetime) -> list[Gate]:
    """Return the gates ``reenroll.*`` and ``certificate.*``."""
    rules = profile.model.reenroll
    at = profile.position("reenroll")
    gates = []
    # 1. the profile offers it
    if rules is None:
        detail = f"profile {profile.name} has no reenroll section"
        gates.append(Gate("reenroll.not-offered", ok=False, detail=detail, position=at))
    # 2. the current certificate is there (RFC 7030 3.3.2, 4.2.2)
    old = request.identity.certificate
    if request.identity.method != "own-certificate" or old is None or old.der is None:
        detail = "a renewal needs the current certificate, issued here, on its TLS connection"
        gates.append(Gate("reenroll.certificate-required", ok=False, detail=detail, position=at))
        return gates
    # 3. it is good, and this profile's
    gates.append(_status_gate(profile, old))
    # 4. it is time, and the key is one that may come
    if rules is not None:
        gates.append(_time_gate(profile, rules, old, now))
        gates.append(_key_gate(profile, rules, request, old))
    # 5. the names are the current ones
    certificate = x509.load_der_x509_certificate(old.der)
    gates.extend(_same_names(profile, request, certificate))
    return gates


def opens_in(profile: Profile, request: RequestFacts, now: datetime) -> int | None:
    """Return the whole seconds until the renewal window opens; None if it is not waited for."""
    rules, old = profile.model.reenroll, request.identity.certificate
    if rules is None or rules.window is None or old is None:
        return None
    return max(1, ceil((old.not_after - now - rules.window).total_seconds()))


def _status_gate(profile: Profile, old: CertificateRecord) -> Gate:
    at = profile.position("reenroll")
    if old.status != "good":
        detail = f"certificate {old.serial_number:x} is {old.status}"
        return Gate(f"certificate.{old.status}", ok=False, detail=detail, position=at)
    if old.profile != profile.name:
        detail = f"the certificate was issued under profile {old.profile}, this is {profile.name}"
        return Gate("certificate.profile", ok=False, detail=detail, position=at)
    return Gate("certificate", ok=True, detail=f"{old.serial_number:x} is good", position=at)


def _time_gate(profile: Profile, rules: Reenroll, old: CertificateRecord, now: datetime) -> Gate:
    end = old.not_after
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
    profile: Profile, rules: Reenroll, request: RequestFacts, old: CertificateRecord
) -> Gate:
    same = sha256(request.csr.spki).digest() == old.spki_sha256
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
    try:
        san = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        current = tuple(san)
    except x509.ExtensionNotFound:
        current = ()
    same = general_names_equal(csr.subject_alternative_names, current)
    detail = shown_names(csr.subject_alternative_names)
    if not same:
        detail = shown(f"expected {shown_names(current)}, found {detail}")
    return [subject, Gate("reenroll.san", ok=same, detail=detail, position=at)]

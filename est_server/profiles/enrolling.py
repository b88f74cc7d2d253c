"""The gates of an enrollment by somebody who has a certificate already (RFC 7030 4.2.1)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from est_server.profiles.decision import Gate
from est_server.profiles.texts import shown, shown_names, shown_subject, shown_time

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile


def own_certificate_gate(profile: Profile, request: RequestFacts, now: datetime) -> Gate:
    """Return the gate of a simpleenroll with a certificate of ours and nothing else.

    It is never silently turned into a renewal: the profile says what it is.
    """
    at = profile.position("enroll", "own_certificate")
    own = request.identity.certificate
    rule = profile.model.enroll.own_certificate
    if rule == "renew":
        detail = "a certificate of this CA renews itself at simpleenroll too"
        return Gate("method", ok=None, detail=detail, position=at)
    if own is None or rule == "refuse":
        detail = "a certificate of this CA renews itself at simplereenroll; nothing else was sent"
        return Gate("enroll.own-certificate", ok=False, detail=detail, position=at)
    number = f"certificate {own.serial_number:x}"
    if own.status != "good":
        detail = f"{number} is {own.status}"
        return Gate(f"certificate.{own.status}", ok=False, detail=detail, position=at)
    if own.profile != profile.name:
        detail = f"{number} was issued under profile {own.profile}, this is {profile.name}"
        return Gate("certificate.profile", ok=False, detail=detail, position=at)
    if own.not_after < now:
        detail = f"{number} expired {shown_time(own.not_after)}"
        return Gate("certificate.expired", ok=False, detail=detail, position=at)
    return Gate("method", ok=True, detail=f"one more beside {number}", position=at)


def again_gate(profile: Profile, request: RequestFacts, now: datetime) -> list[Gate]:
    """Return ``enroll``: may who has valid certificates of this profile have one more?"""
    rules = profile.model.enroll
    if rules.again == "allow" and rules.most is None:
        return []
    count = sum(certificate.not_after > now for certificate in request.others)
    at = profile.position("enroll", "again")
    has = f"{shown(request.identity.name)} has {count} valid"
    if rules.again == "refuse" and count:
        return [Gate("enroll.again", ok=False, detail=f"{has} already", position=at)]
    if rules.most is not None and count >= rules.most:
        at = profile.position("enroll", "most")
        detail = f"{has}, {rules.most} are allowed"
        return [Gate("enroll.too-many", ok=False, detail=detail, position=at)]
    return [Gate("enroll", ok=True, detail=has, position=at)]


def with_changed_names(
    profile: Profile, request: RequestFacts, *, renewal: bool
) -> tuple[RequestFacts, list[Gate]]:
    """Return the request as if it asked for the names of its ChangeSubjectName, and the gate.

    A name that the attribute leaves out stays as the CSR has it (RFC 6402 2.8). What is made of
    the names is the profile's business, as with any other request.
    """
    change = request.change
    if change is None:
        return request, []
    rules = profile.model.reenroll if renewal else profile.model.enroll
    at = profile.position("reenroll" if renewal else "enroll", "change_subject_name")
    csr = request.csr
    if change.subject is not None and change.subject_der is not None:
        csr = replace(csr, subject=change.subject, subject_der=change.subject_der)
    if change.subject_alternative_names is not None:
        csr = replace(csr, subject_alternative_names=change.subject_alternative_names)
    asked = f"{shown_subject(csr.subject)} and {shown_names(csr.subject_alternative_names)}"
    if rules is None or not rules.change_subject_name:
        detail = f"this profile lets nobody change names; asked for: {asked}"
        return request, [Gate("names.change", ok=False, detail=shown(detail), position=at)]
    detail = shown(f"asked for: {asked}")
    return replace(request, csr=csr), [Gate("names", ok=True, detail=detail, position=at)]

"""The certificate's subject, attribute by attribute, from the profile's rules.

Nothing of it comes from the request unless the profile says so, and what does is bounded.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.pki.names import names_equal
from est_server.profiles.decision import Gate
from est_server.profiles.patterns import any_matches, text_pattern
from est_server.profiles.renewal import wants_names
from est_server.profiles.texts import shown, shown_subject

if TYPE_CHECKING:
    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.naming import Subject
    from est_server.profiles.patterns import TextPattern
    from est_server.profiles.profile import Profile

SUBJECT_OIDS = {
    "country": NameOID.COUNTRY_NAME,
    "state": NameOID.STATE_OR_PROVINCE_NAME,
    "locality": NameOID.LOCALITY_NAME,
    "organization": NameOID.ORGANIZATION_NAME,
    "organizational_unit": NameOID.ORGANIZATIONAL_UNIT_NAME,
    "serial_number": NameOID.SERIAL_NUMBER,
    "common_name": NameOID.COMMON_NAME,
}
_LONGEST = {  # RFC 5280 A.1, in characters
    "state": 128,
    "locality": 128,
    "organization": 64,
    "organizational_unit": 64,
    "serial_number": 64,
    "common_name": 64,
}
_PRINTABLE_STRING = re.compile(r"[A-Za-z0-9 '()+,\-./:=?]+")  # X.680 41.4
_COUNTRY = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True, slots=True)
class SubjectPart:
    """One attribute of the subject, ready to be made.

    Attributes:
        name: as the profile calls it: ``common_name``.
        oid: its attribute type.
        fixed: the whole RDN, where the value is the profile's own.
        source: ``device.id``, ``device.attributes.NAME``, ``identity.name`` or ``request``.
        patterns: what the value has to fit; None for whatever the source says.
        required: whether the certificate must have it.
    """

    name: str
    oid: x509.ObjectIdentifier
    fixed: x509.RelativeDistinguishedName | None
    source: str
    patterns: tuple[TextPattern, ...] | None
    required: bool


def subject_parts(subject: Subject) -> tuple[SubjectPart, ...]:
    """Return the attributes of a profile's subject, in the order of encoding.

    Raises:
        ValueError: a fixed value can't be encoded.
    """
    return tuple(
        SubjectPart(
            name=name,
            oid=SUBJECT_OIDS[name],
            fixed=None if rule.fixed is None else _relative_name(name, rule.fixed),
            source=rule.from_ or "request",
            patterns=None if rule.allow is None else tuple(map(text_pattern, rule.allow)),
            required=rule.required,
        )
        for name, rule in subject.fields().items()
    )


def value_from(source: str, request: RequestFacts, device: Device | None) -> str | None:
    """Return the value of ``device.id``, ``device.attributes.NAME`` or ``identity.name``."""
    if source == "identity.name":
        return request.identity.name
    if device is None:
        return None
    if source == "device.id":
        return device.id
    return device.attributes.get(source.removeprefix("device.attributes."))


def subject_flaw(name: str, value: str) -> tuple[str, str] | None:
    """Return what is wrong with a value (rule and text), or None.

    Args:
        name: the attribute, as the profile calls it.
        value: its value, not empty.
    """
    if name == "country":
        if _COUNTRY.fullmatch(value):
            return None
        return "subject.invalid", f"country {shown(value)!r} is not two letters (ISO 3166)"
    # the library that encodes names counts octets here, RFC 5280 characters
    length = len(value.encode("utf-8", "replace")) if name == "common_name" else len(value)
    if length > _LONGEST[name]:
        return "subject.too-long", f"{name} has {length} characters, {_LONGEST[name]} are allowed"
    if not value.isprintable() or value != value.strip():
        return "subject.invalid", f"{name} {shown(value)!r} has unprintable or outer white space"
    if name == "serial_number" and not _PRINTABLE_STRING.fullmatch(value):
        return "subject.invalid", f"serial_number {value!r} is no PrintableString"
    return None


def build_subject(
    profile: Profile, request: RequestFacts, device: Device | None
) -> tuple[x509.Name, list[Gate]]:
    """Return the subject and its gates: ``subject`` and ``subject.*``."""
    csr = request.csr
    if profile.model.subject.as_requested:
        at = profile.position("subject", "as_requested")
        detail = f"as requested: {shown_subject(csr.subject)}"
        return csr.subject, [Gate("subject", ok=True, detail=detail, position=at)]
    made: list[x509.RelativeDistinguishedName] = []
    gates: list[Gate] = []
    for part in profile.compiled.subject:
        if part.fixed is not None:
            made.append(part.fixed)
            continue
        value, problem = _value(part, request, device)
        if problem is not None:
            rule, detail = problem
            at = profile.position("subject", part.name)
            gates.append(Gate(rule, ok=False, detail=detail, position=at))
        elif value is not None:
            made.append(_relative_name(part.name, value))
    subject = x509.Name(made)
    if not gates:
        gates.append(_compared(profile, request, subject))
    return subject, gates


def _value(
    part: SubjectPart, request: RequestFacts, device: Device | None
) -> tuple[str | None, tuple[str, str] | None]:
    """Return the attribute's value, or what is wrong (rule and text), or neither."""
    if part.source == "request":
        found = request.csr.subject.get_attributes_for_oid(part.oid)
        if len(found) > 1:
            return None, ("subject.ambiguous", f"the request has {len(found)} of {part.name}")
        raw = found[0].value if found else ""
        value = raw if isinstance(raw, str) else ""
    else:
        value = value_from(part.source, request, device) or ""
    if not value:
        return None, _missing(part) if part.required else None
    if (flaw := subject_flaw(part.name, value)) is not None:
        return None, flaw
    if part.patterns is not None and not any_matches(part.patterns, value):
        return None, ("subject.not-allowed", f"{part.name} {value!r} fits no allowed pattern")
    return value, None


def _missing(part: SubjectPart) -> tuple[str, str]:
    if part.source == "request":
        detail = f"the request's subject lacks {part.name} ({part.oid.dotted_string})"
        return "subject.not-requested", detail
    return "subject.missing", f"{part.name} comes from {part.source}, which has none"


def _compared(profile: Profile, request: RequestFacts, subject: x509.Name) -> Gate:
    """Compare what is made with what is asked for; an empty request asks for nothing."""
    csr, rules = request.csr, profile.model.subject
    detail = shown_subject(subject)
    if csr.subject_der == subject.public_bytes() or not csr.subject.rdns:
        return Gate("subject", ok=True, detail=detail, position=profile.position("subject"))
    # a renewal has to repeat the current subject (RFC 7030 4.2.2), whatever is made of it now
    rejects = rules.on_mismatch == "reject" and wants_names(profile, request)
    at = profile.position("subject", "on_mismatch")
    asked = shown_subject(csr.subject)
    if rejects and not names_equal(csr.subject, subject):
        detail = f"expected {detail}; the request asks for {asked}"
        return Gate("subject.mismatch", ok=False, detail=detail, position=at)
    return Gate("subject", ok=True, detail=f"{detail}; the request says {asked}", position=at)


def _relative_name(name: str, value: str) -> x509.RelativeDistinguishedName:
    return x509.RelativeDistinguishedName([x509.NameAttribute(SUBJECT_OIDS[name], value)])

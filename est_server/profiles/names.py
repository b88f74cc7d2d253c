"""Subject and subjectAltName of the certificate, from the profile's rules.

Each builder returns the names it made and the gates it passed; a gate that failed says what was
expected and what was found.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.pki.names import general_name_text, name_text, names_equal
from est_server.profiles.decision import Gate
from est_server.profiles.patterns import address_allowed, dns_allowed, text_allowed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.model import AlternativeName, SubjectField
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
_LONGEST = {  # RFC 5280 appendix A.1, upper bounds
    "country": 2,
    "state": 128,
    "locality": 128,
    "organization": 64,
    "organizational_unit": 64,
    "serial_number": 64,
    "common_name": 64,
}
_KINDS = ("dns", "ip", "email", "uri")


def value_from(source: str, request: RequestFacts, device: Device | None) -> str | None:
    """Return the value of ``device.id``, ``device.attributes.NAME`` or ``identity.name``."""
    if source == "identity.name":
        return request.identity.name
    if device is None:
        return None
    if source == "device.id":
        return device.id
    return device.attributes.get(source.removeprefix("device.attributes."))


def build_subject(
    profile: Profile, request: RequestFacts, device: Device | None
) -> tuple[x509.Name, list[Gate]]:
    """Return the subject and its gates: ``subject.*``."""
    rules = profile.model.subject
    asked = request.csr.subject
    if rules.as_requested:
        at = profile.position("subject", "as_requested")
        return asked, [Gate("subject.as-requested", ok=True, detail=_shown(asked), position=at)]
    attributes: list[x509.NameAttribute] = []
    gates: list[Gate] = []
    for name, rule in rules.fields().items():
        value, gate = _subject_value(profile, name, rule, request, device)
        if gate is not None:
            gates.append(gate)
        if value is not None:
            attributes.append(x509.NameAttribute(SUBJECT_OIDS[name], value))
    made = x509.Name(attributes)
    if any(gate.ok is False for gate in gates):
        return made, gates
    detail = _shown(made)
    if list(asked) and not names_equal(asked, made):
        detail += f"; the request asks for {_shown(asked)}"
        if rules.on_mismatch == "reject" and request.operation == "simpleenroll":
            at = profile.position("subject", "on_mismatch")
            return made, [*gates, Gate("subject.mismatch", ok=False, detail=detail, position=at)]
        detail += ", which is not used"
    gates.append(Gate("subject", ok=True, detail=detail, position=profile.position("subject")))
    return made, gates


def _subject_value(
    profile: Profile, name: str, rule: SubjectField, request: RequestFacts, device: Device | None
) -> tuple[str | None, Gate | None]:
    at = profile.position("subject", name)
    if rule.fixed is not None:
        return rule.fixed, None
    if rule.from_ is not None and rule.from_ != "request":
        value = value_from(rule.from_, request, device)
        source = rule.from_
    else:
        source = "the request"
        found = request.csr.subject.get_attributes_for_oid(SUBJECT_OIDS[name])
        if len(found) > 1:
            return None, Gate("subject.ambiguous", ok=False, detail=f"several {name}", position=at)
        value = str(found[0].value) if found else None
    if not value:
        if not rule.required:
            return None, None
        detail = f"{name} comes from {source}, which has none"
        return None, Gate("subject.missing", ok=False, detail=detail, position=at)
    if len(value) > _LONGEST[name] or not value.isprintable() or value != value.strip():
        detail = (
            f"{name} {value[:80]!r} is no printable text of at most {_LONGEST[name]} characters"
        )
        return None, Gate("subject.invalid", ok=False, detail=detail, position=at)
    if name == "country" and not (len(value) == 2 and value.isascii() and value.isalpha()):
        detail = f"country {value!r} is not two letters"
        return None, Gate("subject.invalid", ok=False, detail=detail, position=at)
    if rule.allow is not None and not text_allowed(rule.allow, value):
        detail = f"{name} {value!r} fits none of {', '.join(rule.allow)}"
        return None, Gate("subject.not-allowed", ok=False, detail=detail, position=at)
    return value, None


def build_alternative_names(
    profile: Profile, request: RequestFacts, device: Device | None
) -> tuple[tuple[x509.GeneralName, ...], list[Gate]]:
    """Return the subjectAltName and its gates: ``san.*``."""
    rules = profile.model.subject_alternative_names
    asked = request.csr.subject_alternative_names
    if rules.as_requested:
        at = profile.position("subject_alternative_names", "as_requested")
        detail = _listed(asked)
        return asked, [Gate("san.as-requested", ok=True, detail=detail, position=at)]
    made: dict[x509.GeneralName, None] = {}
    gates: list[Gate] = []
    for kind in _KINDS:
        rule: AlternativeName | None = getattr(rules, kind)
        if rule is None:
            continue
        at = profile.position("subject_alternative_names", kind)
        own = list(rule.fixed)
        if rule.from_ is not None:
            value = value_from(rule.from_, request, device)
            if value is None:
                detail = f"{kind} comes from {rule.from_}, which has none"
                gates.append(Gate("san.missing", ok=False, detail=detail, position=at))
            else:
                own.append(value)
        for text in own:
            try:
                made[_general_name(kind, text)] = None
            except ValueError:
                detail = f"{text!r} is no {kind} name"
                gates.append(Gate("san.invalid", ok=False, detail=detail, position=at))
    counts = dict.fromkeys(_KINDS, 0)
    extra: list[x509.GeneralName] = []
    for name in asked:
        if name in made:
            continue
        found_kind = _allowed_kind(profile, name)
        if found_kind is None:
            extra.append(name)
            continue
        counts[found_kind] += 1
        made[name] = None
    for kind, count in counts.items():
        rule = getattr(rules, kind)
        if rule is not None and count > rule.max:
            at = profile.position("subject_alternative_names", kind, "max")
            detail = f"{count} {kind} names are asked for, {rule.max} allowed"
            gates.append(Gate("san.too-many", ok=False, detail=detail, position=at))
    if extra:
        gates.append(_extra_gate(profile, extra))
    if not any(gate.ok is False for gate in gates):
        at = profile.position("subject_alternative_names")
        gates.append(Gate("san", ok=True, detail=_listed(made), position=at))
    return tuple(made), gates


def _allowed_kind(profile: Profile, name: x509.GeneralName) -> str | None:
    rules = profile.model.subject_alternative_names
    match name:
        case x509.DNSName() if rules.dns and dns_allowed(rules.dns.allow, name.value):
            return "dns"
        case x509.IPAddress() if (
            rules.ip
            and isinstance(name.value, ipaddress.IPv4Address | ipaddress.IPv6Address)
            and address_allowed(rules.ip.allow, name.value)
        ):
            return "ip"
        case x509.RFC822Name() if rules.email and text_allowed(rules.email.allow, name.value):
            return "email"
        case x509.UniformResourceIdentifier() if rules.uri and text_allowed(
            rules.uri.allow, name.value
        ):
            return "uri"
    return None


def _extra_gate(profile: Profile, extra: list[x509.GeneralName]) -> Gate:
    at = profile.position("subject_alternative_names", "on_extra")
    detail = f"not allowed: {_listed(extra)}"
    if profile.model.subject_alternative_names.on_extra == "drop":
        return Gate("san.dropped", ok=True, detail=detail + "; left out", position=at)
    return Gate("san.not-allowed", ok=False, detail=detail, position=at)


def _general_name(kind: str, text: str) -> x509.GeneralName:
    match kind:
        case "dns":
            return x509.DNSName(text)
        case "ip":
            return x509.IPAddress(ipaddress.ip_address(text))
        case "email":
            return x509.RFC822Name(text)
    return x509.UniformResourceIdentifier(text)


def _shown(name: x509.Name) -> str:
    return name_text(name) or "an empty subject"


def _listed(names: Iterable[x509.GeneralName]) -> str:
    return ", ".join(general_name_text(name) for name in names) or "none"

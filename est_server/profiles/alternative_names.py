"""The certificate's subjectAltName, kind by kind, from the profile's rules.

Order: the profile's own names, the one that comes from the device, then the request's in their
order; a name that stands twice counts once.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cryptography import x509

from est_server.profiles.decision import Gate
from est_server.profiles.patterns import (
    any_contains,
    any_matches,
    dns_pattern,
    is_dns_name,
    network,
    text_pattern,
)
from est_server.profiles.renewal import wants_names
from est_server.profiles.subject import value_from
from est_server.profiles.texts import shown, shown_names

if TYPE_CHECKING:
    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.naming import AlternativeName, SubjectAlternativeNames
    from est_server.profiles.patterns import DnsPattern, Network, TextPattern
    from est_server.profiles.profile import Profile

Kind = Literal["dns", "ip", "email", "uri"]
KINDS: tuple[Kind, ...] = ("dns", "ip", "email", "uri")
_VISIBLE = re.compile(r"[!-~]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[!-~]+")  # RFC 5280 4.2.1.6: absolute


@dataclass(frozen=True, slots=True)
class NameKind:
    """One kind of alternative names, ready to be made.

    Attributes:
        kind: ``dns``, ``ip``, ``email`` or ``uri``.
        fixed: the profile's own names.
        source: ``device.id``, ``device.attributes.NAME`` or ``identity.name``; None without one.
        patterns: what requested names may be.
        networks: where requested addresses may lie.
        most: how many the request may bring.
    """

    kind: Kind
    fixed: tuple[x509.GeneralName, ...]
    source: str | None
    patterns: tuple[DnsPattern | TextPattern, ...]
    networks: tuple[Network, ...]
    most: int

    def allows(self, name: x509.GeneralName) -> bool:
        """Tell whether a requested name is of this kind and allowed."""
        match name:
            case x509.DNSName(value=text):
                return self.kind == "dns" and any_matches(self.patterns, text)
            case x509.IPAddress(value=address):
                return (
                    self.kind == "ip"
                    and isinstance(address, ipaddress.IPv4Address | ipaddress.IPv6Address)
                    and any_contains(self.networks, address)
                )
            case x509.RFC822Name(value=text):
                return self.kind == "email" and self._allows_text(text)
            case x509.UniformResourceIdentifier(value=text):
                return self.kind == "uri" and self._allows_text(text)
        return False

    def _allows_text(self, text: str) -> bool:
        """The form first: any text in a pattern is not to mean two addresses in one name."""
        return is_name(self.kind, text) and any_matches(self.patterns, text)


def name_kinds(names: SubjectAlternativeNames) -> tuple[NameKind, ...]:
    """Return the kinds that a profile configures.

    Raises:
        ValueError: a fixed name or a pattern is not valid.
    """
    return tuple(_kind(kind, rule) for kind in KINDS if (rule := getattr(names, kind)) is not None)


def general_name(kind: Kind, text: str) -> x509.GeneralName:
    """Return a name of a kind.

    Raises:
        ValueError: `text` is no name of that kind.
    """
    if kind == "ip":
        address = ipaddress.ip_address(text)
        if "%" in text:
            raise ValueError("an address in a certificate has no zone")
        return x509.IPAddress(address)
    if kind == "dns":
        if not is_dns_name(text.removeprefix("*.")):
            raise ValueError(f"{shown(text)!r} is no DNS name")
        return x509.DNSName(text)
    if not _VISIBLE.fullmatch(text):
        raise ValueError(f"{shown(text)!r} has characters that need an encoding")
    if kind == "email":
        local, _, domain = text.partition("@")
        if not local or not is_dns_name(domain):
            raise ValueError(f"{shown(text)!r} is no mailbox like name@example.net")
        return x509.RFC822Name(text)
    if not _URI.fullmatch(text):
        raise ValueError(f"{shown(text)!r} is no absolute URI")
    return x509.UniformResourceIdentifier(text)


def is_name(kind: Kind, text: str) -> bool:
    """Tell whether `text` is a name of a kind."""
    try:
        general_name(kind, text)
    except ValueError:
        return False
    return True


def build_alternative_names(
    profile: Profile, request: RequestFacts, device: Device | None
) -> tuple[tuple[x509.GeneralName, ...], list[Gate]]:
    """Return the subjectAltName and its gates: ``san`` and ``san.*``."""
    rules = profile.model.subject_alternative_names
    asked = request.csr.subject_alternative_names
    if rules.as_requested:
        at = profile.position("subject_alternative_names", "as_requested")
        detail = f"as requested: {shown_names(asked)}"
        return asked, [Gate("san", ok=True, detail=detail, position=at)]
    gates: list[Gate] = []
    made = {_folded(name): name for name in _own(profile, request, device, gates)}
    extra: list[x509.GeneralName] = []
    counts = dict.fromkeys(KINDS, 0)
    for name in asked:
        key = _folded(name)
        if key in made:
            continue
        found = next((kind for kind in profile.compiled.names if kind.allows(name)), None)
        if found is None:
            extra.append(name)
            continue
        counts[found.kind] += 1
        made[key] = name
    for kind in profile.compiled.names:
        if counts[kind.kind] > kind.most:
            at = profile.position("subject_alternative_names", kind.kind, "max")
            detail = f"{counts[kind.kind]} {kind.kind} names are asked for, {kind.most} allowed"
            gates.append(Gate("san.too-many", ok=False, detail=detail, position=at))
    names = tuple(made.values())
    gates.extend(_outcome(profile, request, names, extra, refused=bool(gates)))
    return names, gates


def _own(
    profile: Profile, request: RequestFacts, device: Device | None, gates: list[Gate]
) -> list[x509.GeneralName]:
    """Return the names that don't come from the request; problems go to `gates`."""
    names: list[x509.GeneralName] = []
    for kind in profile.compiled.names:
        names.extend(kind.fixed)
        if kind.source is None:
            continue
        at = profile.position("subject_alternative_names", kind.kind, "from")
        value = value_from(kind.source, request, device)
        if not value:
            detail = f"{kind.kind} comes from {kind.source}, which has none"
            gates.append(Gate("san.missing", ok=False, detail=detail, position=at))
        elif is_name(kind.kind, value):
            names.append(general_name(kind.kind, value))
        else:
            detail = f"{kind.source} {shown(value)!r} is no {kind.kind} name"
            gates.append(Gate("san.invalid", ok=False, detail=detail, position=at))
    return names


def _outcome(
    profile: Profile,
    request: RequestFacts,
    names: tuple[x509.GeneralName, ...],
    extra: list[x509.GeneralName],
    *,
    refused: bool,
) -> list[Gate]:
    at = profile.position("subject_alternative_names", "on_extra")
    # a renewal has to repeat the current names (RFC 7030 4.2.2), also those no longer given
    rejects = wants_names(profile, request)
    if extra and rejects and profile.model.subject_alternative_names.on_extra == "reject":
        detail = f"not allowed: {shown_names(extra)}"
        return [Gate("san.not-allowed", ok=False, detail=detail, position=at)]
    if refused:
        return []
    left_out = f"; left out: {shown_names(extra)}" if extra else ""
    return [Gate("san", ok=True, detail=shown_names(names) + left_out, position=at)]


def _kind(kind: Kind, rule: AlternativeName) -> NameKind:
    is_ip = kind == "ip"
    pattern = dns_pattern if kind == "dns" else text_pattern
    return NameKind(
        kind=kind,
        fixed=tuple(general_name(kind, text) for text in rule.fixed),
        source=rule.from_,
        patterns=() if is_ip else tuple(map(pattern, rule.allow)),
        networks=tuple(map(network, rule.allow)) if is_ip else (),
        most=rule.max,
    )


def _folded(name: x509.GeneralName) -> x509.GeneralName | str:
    """RFC 5280 7.2: DNS names compare without case."""
    return name.value.lower() if isinstance(name, x509.DNSName) else name

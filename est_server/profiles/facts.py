"""What a rule can speak of, as plain values: no object of ours reaches an expression."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cryptography import x509

from est_server.pki.names import general_name_text
from est_server.profiles.subject import SUBJECT_OIDS

if TYPE_CHECKING:
    from est_server.ports.ledger import Device
    from est_server.profiles.decision import RequestFacts

MOST_NAMES = 100
LONGEST_NAME = 2048
"""The evaluator holds the interpreter while it runs, and some expressions take time that grows
with the square of what they look at."""

EXAMPLE: dict[str, Any] = {
    "device": {"id": "SN-1", "profile": "router", "state": "active"},
    "request": {
        "operation": "simpleenroll",
        "label": "router",
        "key": "EC-P256",
        "subject": dict.fromkeys(SUBJECT_OIDS, ""),
        "san": {kind: [] for kind in ("dns", "ip", "email", "uri", "other")},
    },
    "identity": {"name": "SN-1", "method": "credential", "trust": "", "anchors": ""},
    "attestation": {"status": "", "policy": ""},
    "now": datetime(2026, 1, 1, tzinfo=UTC),
}
"""Facts as every rule sees them; a device has its attributes beside these."""


def rule_facts(request: RequestFacts, device: Device | None, now: datetime) -> dict[str, Any]:
    """Return the facts by name, in the shape of `EXAMPLE`.

    ``device``: id, profile, state and the operator's attributes by their names (id, profile and
    state are never theirs); empty where there is no device. ``request``: operation, label (empty
    without one), key, subject (every attribute that profiles know, empty if absent) and san (dns,
    ip, email, uri, other: texts). ``identity``: name, method, trust (the trust store, empty without
    one) and anchors (explicit, implicit or empty). ``attestation``: status and policy; both empty
    where no evidence was appraised. ``now``.
    """
    csr = request.csr
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
            "key": csr.key_algorithm,
            "subject": _subject(csr.subject),
            "san": _alternative_names(csr.subject_alternative_names),
        },
        "identity": {
            "name": request.identity.name,
            "method": request.identity.method,
            "trust": request.identity.trust or "",
            "anchors": request.identity.anchors or "",
        },
        "attestation": {
            "status": "" if request.attestation is None else request.attestation.status,
            "policy": "" if request.attestation is None else request.attestation.policy[0],
        },
        "now": now,
    }


def too_large(facts: dict[str, Any]) -> str | None:
    """Return why these facts are too large to be judged, or None.

    The wire bounds a subject; alternative names are as long as a device writes them.
    """
    names = [text for texts in facts["request"]["san"].values() for text in texts]
    if len(names) > MOST_NAMES:
        return f"the request has {len(names)} alternative names, {MOST_NAMES} are judged"
    if (longest := max(map(len, names), default=0)) > LONGEST_NAME:
        return f"an alternative name has {longest} characters, {LONGEST_NAME} are judged"
    return None


def _subject(name: x509.Name) -> dict[str, str]:
    found = {attribute.oid: attribute.value for attribute in name}
    return {key: str(found.get(oid, "")) for key, oid in SUBJECT_OIDS.items()}


def _alternative_names(names: tuple[x509.GeneralName, ...]) -> dict[str, list[str]]:
    sorted_out: dict[str, list[str]] = {kind: [] for kind in EXAMPLE["request"]["san"]}
    for name in names:
        match name:
            case x509.DNSName(value=text):
                sorted_out["dns"].append(text)
            case x509.IPAddress(value=address):
                sorted_out["ip"].append(str(address))
            case x509.RFC822Name(value=text):
                sorted_out["email"].append(text)
            case x509.UniformResourceIdentifier(value=text):
                sorted_out["uri"].append(text)
            case _:
                sorted_out["other"].append(general_name_text(name))
    return sorted_out

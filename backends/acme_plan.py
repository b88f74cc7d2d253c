"""What an ACME server is asked for: the identifiers of a certificate plan (RFC 8555 7.4, RFC 8738).

An order says names and, where the server takes them, dates; subject and usages are the server's.
The CSR is the device's own and has to name exactly what is ordered, or the server would refuse it
later, with the order open.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.errors import BackendRejected
from est_server.pki.certificates import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from est_server.pki.plan import CertificatePlan

SubjectRule = Literal["common_name", "empty"]
Identifier = tuple[Literal["dns", "ip"], str]


def new_order(
    plan: CertificatePlan, csr: bytes, *, subject: SubjectRule, dated: bool
) -> dict[str, Any]:
    """Return the payload of newOrder for a plan.

    Args:
        plan: of the certificate.
        csr: DER of the request that will be handed over.
        subject: what the server writes as subject: the first DNS name, or nothing.
        dated: whether the server takes notBefore and notAfter.

    Raises:
        BackendRejected: ``ca.plan``: it can't be ordered, or `csr` names something else.
    """
    identifiers = _identifiers(plan.subject_alternative_names)
    if not identifiers:
        raise _no("the certificate has no DNS name and no address, and nothing else can be ordered")
    common_names = _common_names(plan.subject)
    most = 1 if subject == "common_name" else 0
    if len(common_names) > most or len(common_names) < len([*plan.subject]):
        raise _no("its subject can hold nothing but one of its DNS names")
    first: list[Identifier] = [("dns", name) for name in common_names]
    if any(one not in identifiers for one in first):
        raise _no("its common name has to be one of its DNS names")
    asked = _asked(csr)
    if asked != {*identifiers}:
        raise _no(f"the CSR asks for {_shown(asked)}, and {_shown(identifiers)} is to be certified")
    # servers write the first DNS name into the subject
    ordered = [*first, *(one for one in identifiers if one not in first)]
    body: dict[str, Any] = {
        "identifiers": [{"type": kind, "value": value} for kind, value in ordered]
    }
    if dated:
        body |= {"notBefore": _date(plan.not_before), "notAfter": _date(plan.not_after)}
    return body


def _identifiers(names: Iterable[x509.GeneralName]) -> list[Identifier]:
    found: dict[Identifier, None] = {}
    for name in names:
        match name:
            case x509.DNSName(value=text):
                found["dns", text.lower()] = None
            case x509.IPAddress(value=address):
                found["ip", str(address)] = None
            case _:
                raise _no("names other than DNS names and addresses can't be ordered")
    return [*found]


def _asked(csr: bytes) -> set[Identifier]:
    """Return what a CSR names, its common name included: a server takes that as an identifier."""
    try:
        request = x509.load_der_x509_csr(csr)
        names: Iterable[x509.GeneralName] = request.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        names = ()
    except (x509.InvalidVersion, *UNREADABLE) as error:
        raise _no("the extensions of the CSR can't be read") from error
    asked = _identifiers(names)
    addresses = {value for kind, value in asked if kind == "ip"}
    common = _common_names(request.subject)
    return {*asked, *(("dns", name) for name in common if name not in addresses)}


def _common_names(name: x509.Name) -> list[str]:
    return [str(one.value).lower() for one in name.get_attributes_for_oid(NameOID.COMMON_NAME)]


def _date(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def _shown(identifiers: Iterable[Identifier]) -> str:
    return ", ".join(sorted(value for _, value in identifiers)) or "no name"


def _no(message: str) -> BackendRejected:
    return BackendRejected("ca.plan", message, hint="an ACME server certifies what the CSR names")

"""Which certificate a renewal is about, where the connection shows another one.

    the current one itself      RFC 7030 4.2.2
    an alternate                another certificate of the same device and subject, RFC 7030 3.3.2
    a registrar's               a registration authority renews on behalf, RFC 7030 3.7

What is found here is judged by `est_server.profiles.renewal`: nothing is refused here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.x509.oid import NameOID

from est_server.pki.certificates import read_certificate
from est_server.pki.names import name_text, names_equal
from est_server.pki.usages import CMC_RA, extended_key_usages
from est_server.profiles.decision import Identity, Standin
from est_server.profiles.renewal import has_names
from est_server.profiles.superseding import looks_at_others

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from est_server.enrollment.request import Enrolled
    from est_server.ports.ledger import CertificateRecord, Ledger, Operation
    from est_server.profiles.asking import Registrar
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest

_MOST = 200
_DEVICE_IN = {
    "subject.serialNumber": NameOID.SERIAL_NUMBER,
    "subject.commonName": NameOID.COMMON_NAME,
}


async def renewing_identity(
    profile: Profile,
    operation: Operation,
    identity: Identity,
    csr: CertificationRequest,
    ledger: Ledger,
) -> Identity:
    """Return who renews what.

    Args:
        profile: of the label.
        operation: what is asked for.
        identity: as authenticated.
        csr: the request, whose names say which certificate it is about.
        ledger: where certificates are.
    """
    own, rules = identity.certificate, profile.model.reenroll
    by_rule = operation == "simplereenroll" or profile.model.enroll.own_certificate == "renew"
    if own is None or own.der is None or identity.method != "own-certificate" or not by_rule:
        return identity
    certificate = read_certificate(own.der)
    if rules is None or (own.profile == profile.name and has_names(csr, certificate)):
        return identity
    registrar = rules.registrar
    if registrar is not None and _is_registrar(registrar, own, certificate):
        return await _on_behalf(profile, registrar, own, csr, ledger)
    if own.profile not in {profile.name, *rules.alternates}:
        return identity
    found = await ledger.certificates(
        identity=own.identity, profile=profile.name, status="good", limit=_MOST
    )
    renewed = _newest_with_names(found, csr)
    if renewed is None or not names_equal(csr.subject, certificate.subject):
        return identity
    return replace(identity, certificate=renewed, standin=Standin("alternate", own))


async def other_certificates(
    profile: Profile, facts: RequestFacts, earlier: Enrolled | None, ledger: Ledger
) -> tuple[CertificateRecord, ...]:
    """Return `RequestFacts.others`.

    Args:
        profile: of the label.
        facts: the request.
        earlier: the answer to the same question, if there was one.
        ledger: where certificates are.
    """
    if not looks_at_others(profile, facts):
        return ()
    found = await ledger.certificates(
        identity=facts.identity.name, profile=profile.name, status="good", limit=_MOST
    )
    answered = None if earlier is None else earlier.certificate
    return tuple(certificate for certificate in found if certificate != answered)


def _is_registrar(rules: Registrar, own: CertificateRecord, certificate: x509.Certificate) -> bool:
    """Only a certificate that we issued makes a registrar (RFC 7030 3.7)."""
    return own.identity in rules.identities and CMC_RA in extended_key_usages(certificate)


async def _on_behalf(
    profile: Profile,
    rules: Registrar,
    own: CertificateRecord,
    csr: CertificationRequest,
    ledger: Ledger,
) -> Identity:
    device = None if own.device_id is None else await ledger.device(own.device_id)
    standin = Standin("registrar", own, device)
    if rules.find == "subject":
        text = name_text(csr.subject)
        found = await ledger.certificates(
            subject=text, profile=profile.name, status="good", limit=_MOST
        )
        wanted = f"a certificate for {text}"
    else:
        value = _attribute(csr, rules.find)
        found = await ledger.certificates(
            identity=value, profile=profile.name, status="good", limit=_MOST
        )
        wanted = f"a certificate of device {value!r}"
    detail = f"registrar {own.identity} asks to renew {wanted}"
    holders = {certificate.identity for certificate in found}
    if len(holders) != 1:
        why = "several devices have one" if holders else "there is none"
        return Identity("", "registrar", standin=standin, detail=f"{detail}; {why}")
    renewed = _newest_with_names(found, csr) or found[0]
    return Identity(
        renewed.identity, "registrar", certificate=renewed, standin=standin, detail=detail
    )


def _attribute(csr: CertificationRequest, place: str) -> str:
    values = [one.value for one in csr.subject.get_attributes_for_oid(_DEVICE_IN[place])]
    return values[0] if len(values) == 1 and isinstance(values[0], str) else ""


def _newest_with_names(
    found: Sequence[CertificateRecord], csr: CertificationRequest
) -> CertificateRecord | None:
    for record in found:
        if record.der is not None and has_names(csr, read_certificate(record.der)):
            return record
    return None

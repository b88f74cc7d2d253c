"""Orders in the words of Google's Certificate Authority Service, and a pool's issuers in ours.

Everything of a certificate is in the request's `CertificateConfig`; the CSR is not sent at all.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import NAMESPACE_URL, uuid5

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from google.cloud.security import privateca_v1 as cas

from est_server.errors import BackendRejected
from est_server.pki.chain import chain_above
from est_server.ports.ca import CaCertificates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.pki.plan import CertificatePlan
    from est_server.ports.ca import IssuanceOrder

_CLOCKS_DIFFER = timedelta(minutes=1)
"""The service's clock may be ahead: a life that ends as planned by its clock ends too late."""

_ATTRIBUTES = {
    NameOID.COMMON_NAME: cas.AttributeType.COMMON_NAME,
    NameOID.COUNTRY_NAME: cas.AttributeType.COUNTRY_CODE,
    NameOID.ORGANIZATION_NAME: cas.AttributeType.ORGANIZATION,
    NameOID.ORGANIZATIONAL_UNIT_NAME: cas.AttributeType.ORGANIZATIONAL_UNIT,
    NameOID.LOCALITY_NAME: cas.AttributeType.LOCALITY,
    NameOID.STATE_OR_PROVINCE_NAME: cas.AttributeType.PROVINCE,
    NameOID.STREET_ADDRESS: cas.AttributeType.STREET_ADDRESS,
    NameOID.POSTAL_CODE: cas.AttributeType.POSTAL_CODE,
}
"""Attributes that the service has names for; any other goes by its OID."""
_USAGES = {
    "digitalSignature": "digital_signature",
    "contentCommitment": "content_commitment",
    "keyEncipherment": "key_encipherment",
    "dataEncipherment": "data_encipherment",
    "keyAgreement": "key_agreement",
    "keyCertSign": "cert_sign",
    "cRLSign": "crl_sign",
    "encipherOnly": "encipher_only",
    "decipherOnly": "decipher_only",
}
_PURPOSES = {
    ExtendedKeyUsageOID.SERVER_AUTH.dotted_string: "server_auth",
    ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string: "client_auth",
    ExtendedKeyUsageOID.CODE_SIGNING.dotted_string: "code_signing",
    ExtendedKeyUsageOID.EMAIL_PROTECTION.dotted_string: "email_protection",
    ExtendedKeyUsageOID.TIME_STAMPING.dotted_string: "time_stamping",
    ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string: "ocsp_signing",
}
"""Purposes that the service has names for; any other goes by its OID."""


def certificate_id(order: IssuanceOrder) -> str:
    """Return the id of the order's certificate in the pool: at most 63 of ``[a-zA-Z0-9_-]``."""
    return f"est-{order.idempotency_token}"


def create_request(
    order: IssuanceOrder, pool: str, template: str | None
) -> cas.CreateCertificateRequest:
    """Return the call that makes the certificate of `order`: the same one each time.

    Raises:
        BackendRejected: ``ca.plan``: it would have ended before it began.
    """
    identifier = certificate_id(order)
    lasts = order.plan.not_after - order.ordered_at - _CLOCKS_DIFFER
    if lasts < timedelta(seconds=1):
        raise BackendRejected("ca.plan", "the certificate is too short-lived for this CA")
    return cas.CreateCertificateRequest(
        parent=pool,
        certificate_id=identifier,
        request_id=str(uuid5(NAMESPACE_URL, f"{pool}/certificates/{identifier}")),
        certificate=cas.Certificate(
            config=certificate_config(order.plan),
            lifetime=timedelta(seconds=int(lasts.total_seconds())),
            certificate_template=template or "",
            subject_mode=cas.SubjectRequestMode.RDN_SEQUENCE,
        ),
    )


def pool_certificates(chains: Sequence[Sequence[x509.Certificate]]) -> CaCertificates | None:
    """Return a pool's issuers, the one that lives longest first; None without any.

    Args:
        chains: each one's own certificate first.
    """
    if not chains:
        return None
    issuers = {chain[0]: chain_above(chain[0], chain[1:]) for chain in chains}
    first = max(issuers, key=lambda one: (one.not_valid_after_utc, one.serial_number))
    others = dict.fromkeys(one for one in issuers if one != first)
    others |= dict.fromkeys(above for one in others for above in issuers[one])
    return CaCertificates(first, issuers[first], tuple(others))


def certificate_config(plan: CertificatePlan) -> cas.CertificateConfig:
    """Return everything of `plan` but its validity and its pointers."""
    key = load_der_public_key(plan.spki)
    purposes = plan.extended_key_usage
    return cas.CertificateConfig(
        subject_config=cas.CertificateConfig.SubjectConfig(
            subject=cas.Subject(rdn_sequence=[_rdn(rdn) for rdn in plan.subject.rdns]),
            subject_alt_name=_names(plan.subject_alternative_names),
        ),
        x509_config=cas.X509Parameters(
            key_usage=cas.KeyUsage(
                base_key_usage=cas.KeyUsage.KeyUsageOptions(
                    **{_USAGES[name]: True for name in plan.key_usage}
                ),
                extended_key_usage=cas.KeyUsage.ExtendedKeyUsageOptions(
                    **{_PURPOSES[oid]: True for oid in purposes if oid in _PURPOSES}
                ),
                unknown_extended_key_usages=[
                    _object_id(oid) for oid in purposes if oid not in _PURPOSES
                ],
            ),
            ca_options=cas.X509Parameters.CaOptions(is_ca=False),
            policy_ids=[_object_id(oid) for oid in plan.certificate_policies],
        ),
        public_key=cas.PublicKey(
            key=key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            format_=cas.PublicKey.KeyFormat.PEM,
        ),
    )


def _rdn(rdn: x509.RelativeDistinguishedName) -> cas.RelativeDistinguishedName:
    return cas.RelativeDistinguishedName(attributes=[_attribute(one) for one in rdn])


def _attribute(attribute: x509.NameAttribute[str | bytes]) -> cas.AttributeTypeAndValue:
    known = _ATTRIBUTES.get(attribute.oid)
    if known is not None:
        return cas.AttributeTypeAndValue(type_=known, value=str(attribute.value))
    oid = _object_id(attribute.oid.dotted_string)
    return cas.AttributeTypeAndValue(object_id=oid, value=str(attribute.value))


def _names(names: tuple[x509.GeneralName, ...]) -> cas.SubjectAltNames:
    found = cas.SubjectAltNames()
    for name in names:
        match name:
            case x509.DNSName():
                found.dns_names.append(name.value)
            case x509.IPAddress():
                found.ip_addresses.append(str(name.value))
            case x509.RFC822Name():
                found.email_addresses.append(name.value)
            case x509.UniformResourceIdentifier():
                found.uris.append(name.value)
            case _:
                raise TypeError(f"no {type(name).__name__}: the capabilities leave it out")
    return found


def _object_id(dotted: str) -> cas.ObjectId:
    return cas.ObjectId(object_id_path=[int(arc) for arc in dotted.split(".")])

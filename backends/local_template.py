"""What the certificates of a profile have in common, as a builder that waits for a holder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from est_server.pki.authority import authority_key_identifier
from est_server.pki.usages import key_usage_extension

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.pki.plan import CertificatePlan, Pointers

_NO_CA = x509.BasicConstraints(ca=False, path_length=None)


@dataclass(frozen=True, slots=True)
class Rights:
    """What the plans of a profile have in common."""

    key_usage: tuple[str, ...]
    extended_key_usage: tuple[str, ...]
    policies: tuple[str, ...]
    pointers: Pointers
    ocsp_nocheck: bool

    @classmethod
    def of(cls, plan: CertificatePlan) -> Rights:
        """Return the part of `plan` that names nobody."""
        return cls(
            plan.key_usage,
            plan.extended_key_usage,
            plan.certificate_policies,
            plan.pointers,
            plan.ocsp_nocheck,
        )


def template(issuer: x509.Certificate, rights: Rights) -> x509.CertificateBuilder:
    """Return a certificate without a holder."""
    builder = x509.CertificateBuilder().issuer_name(issuer.subject)
    for extension, critical in _extensions(issuer, rights):
        builder = builder.add_extension(extension, critical=critical)
    return builder


def _extensions(
    issuer: x509.Certificate, rights: Rights
) -> Iterator[tuple[x509.ExtensionType, bool]]:
    yield _NO_CA, True
    yield authority_key_identifier(issuer), False
    if rights.key_usage:
        yield key_usage_extension(rights.key_usage), True
    if rights.extended_key_usage:
        yield x509.ExtendedKeyUsage(map(x509.ObjectIdentifier, rights.extended_key_usage)), False
    if rights.policies:
        oids = map(x509.ObjectIdentifier, rights.policies)
        yield x509.CertificatePolicies([x509.PolicyInformation(oid, None) for oid in oids]), False
    pointers = rights.pointers
    if pointers.crl:
        yield x509.CRLDistributionPoints(_points(pointers.crl)), False
    if pointers.freshest_crl:
        yield x509.FreshestCRL(_points(pointers.freshest_crl)), False
    if pointers.ocsp or pointers.ca_issuers:
        yield _access(pointers.ocsp, pointers.ca_issuers), False
    if rights.ocsp_nocheck:
        yield x509.OCSPNoCheck(), False


def _access(ocsp: tuple[str, ...], issuers: tuple[str, ...]) -> x509.AuthorityInformationAccess:
    kinds = AuthorityInformationAccessOID
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(kinds.OCSP, x509.UniformResourceIdentifier(url)) for url in ocsp]
        + [
            x509.AccessDescription(kinds.CA_ISSUERS, x509.UniformResourceIdentifier(url))
            for url in issuers
        ]
    )


def _points(urls: tuple[str, ...]) -> list[x509.DistributionPoint]:
    return [
        x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
        for url in urls
    ]

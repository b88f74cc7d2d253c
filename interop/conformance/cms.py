"""Certs-only CMS (RFC 5652 5.1), read whole so that what should not be there is seen."""

from __future__ import annotations

from dataclasses import dataclass

from asn1crypto import cms, core
from cryptography import x509

from interop.conformance.case import Failed


@dataclass(frozen=True, slots=True)
class SignedData:
    """A SignedData.

    Attributes:
        certificates: as far as they are X.509 certificates.
        others: how many certificates of other kinds there are.
        crls: how many revocation lists.
        signers: how many signatures.
        content: whether something is signed.
    """

    certificates: tuple[x509.Certificate, ...]
    others: int
    crls: int
    signers: int
    content: bool


def read_signed_data(octets: bytes) -> SignedData:
    """Read one ContentInfo and nothing behind it.

    Raises:
        Failed: it is something else.
    """
    try:
        info = cms.ContentInfo.load(octets, strict=True)
        if info["content_type"].native != "signed_data":
            raise Failed(f"the CMS is {info['content_type'].native}, not signedData")
        signed = info["content"]
        certificates = (
            [] if isinstance(signed["certificates"], core.Void) else signed["certificates"]
        )
        plain = [found.chosen for found in certificates if found.name == "certificate"]
        return SignedData(
            certificates=tuple(x509.load_der_x509_certificate(found.dump()) for found in plain),
            others=len(certificates) - len(plain),
            crls=0 if isinstance(signed["crls"], core.Void) else len(signed["crls"]),
            signers=len(signed["signer_infos"]),
            content=not isinstance(signed["encap_content_info"]["content"], core.Void),
        )
    except (ValueError, TypeError) as error:
        raise Failed(f"the body is not a CMS SignedData: {error}") from error


def certificates_in(octets: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a SignedData."""
    return read_signed_data(octets).certificates


def self_signed(certificate: x509.Certificate) -> bool:
    """Tell whether a certificate is a root."""
    return certificate.issuer == certificate.subject and issued_by(certificate, certificate)


def issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Tell whether `issuer` signed `certificate`."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except Exception:  # noqa: BLE001 - whatever keeps it from being verified
        return False
    return True


def path_to_root(
    certificate: x509.Certificate, known: tuple[x509.Certificate, ...]
) -> tuple[x509.Certificate, ...] | None:
    """Return the certificates above one up to a root among `known`, or None."""
    above: list[x509.Certificate] = []
    current = certificate
    while not self_signed(current):
        issuers = [one for one in known if one not in above and issued_by(current, one)]
        if not issuers:
            return None
        # the root itself before a cross certificate of the same key
        current = next((one for one in issuers if self_signed(one)), issuers[0])
        above.append(current)
    return tuple(above)

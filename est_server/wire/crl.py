"""Certificate revocation lists (RFC 5280 5), put together from the DER of their entries.

    CertificateList ::= SEQUENCE {
        tbsCertList             TBSCertList,
        signatureAlgorithm      AlgorithmIdentifier,
        signatureValue          BIT STRING }
    TBSCertList ::= SEQUENCE {
        version                 Version OPTIONAL,          -- v2
        signature               AlgorithmIdentifier,
        issuer                  Name,
        thisUpdate              Time,
        nextUpdate              Time OPTIONAL,             -- always here
        revokedCertificates     SEQUENCE OF SEQUENCE {     -- absent when there is none
            userCertificate         CertificateSerialNumber,
            revocationDate          Time,
            crlEntryExtensions      Extensions OPTIONAL } OPTIONAL,
        crlExtensions           [0] EXPLICIT Extensions OPTIONAL }

A list of a million entries is made again and again while its entries stay what they are; so an
entry is encoded once, and a list joins them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from asn1crypto import core, crl, x509

from est_server.wire.der import SEQUENCE, header

if TYPE_CHECKING:
    from collections.abc import Sequence

EXPIRED_CERTS_ON_CRL = "2.5.29.60"
_BIT_STRING = 0x03
_EXTENSIONS = 0xA0
_VERSION_2 = core.Integer(1).dump()
_GENERALIZED_FROM = datetime(2050, 1, 1, tzinfo=UTC)
_REASONS = {
    "keyCompromise": "key_compromise",
    "affiliationChanged": "affiliation_changed",
    "superseded": "superseded",
    "cessationOfOperation": "cessation_of_operation",
    "certificateHold": "certificate_hold",
    "privilegeWithdrawn": "privilege_withdrawn",
    "removeFromCRL": "remove_from_crl",
}
_NAMES = {found: name for name, found in _REASONS.items()}


def reason_name(read: str) -> str:
    """Return the name in RFC 5280 5.3.1 of a reason as `crl_reading` has it."""
    return _NAMES.get(read, "unspecified")


@dataclass(frozen=True, slots=True)
class CrlContent:
    """Everything of a CRL but its entries and its signature.

    Attributes:
        algorithm: DER AlgorithmIdentifier of the signature.
        issuer: DER of the CA's subject.
        key_identifier: of the CA's key, as its certificates' authorityKeyIdentifier has it.
        number: CRLNumber, positive.
        this_update: aware; whole seconds.
        next_update: later than `this_update`.
        base_number: BaseCRLNumber; makes the list a delta CRL (RFC 5280 5.2.4).
        only_at: the URL in certificates that this list is for, and no other: makes it a partial
            one, by a critical issuingDistributionPoint (RFC 5280 5.2.5).
        freshest: where delta CRLs are (RFC 5280 5.2.6); empty in a delta.
        expired_since: certificates that ended then or later stay in the list (X.509 9.5.2.8).
    """

    algorithm: bytes
    issuer: bytes
    key_identifier: bytes
    number: int
    this_update: datetime
    next_update: datetime
    base_number: int | None = None
    only_at: str | None = None
    freshest: tuple[str, ...] = ()
    expired_since: datetime | None = None


def encode_tbs(content: CrlContent, entries: Sequence[bytes]) -> bytes:
    """Return the DER of a TBSCertList.

    Args:
        content: all but the entries.
        entries: DER of the entries (`encode_entry`), each alone or several joined.
    """
    size = sum(map(len, entries))
    extensions = _extensions(content)
    parts = (
        _VERSION_2,
        content.algorithm,
        content.issuer,
        encode_time(content.this_update),
        encode_time(content.next_update),
        header(SEQUENCE, size) if size else b"",
        *entries,
        header(_EXTENSIONS, len(extensions)),
        extensions,
    )
    return b"".join((header(SEQUENCE, sum(map(len, parts))), *parts))


def encode_crl(tbs: bytes, algorithm: bytes, signature: bytes) -> bytes:
    """Return the DER of a CertificateList.

    Args:
        tbs: from `encode_tbs`.
        algorithm: the one in `tbs`.
        signature: over `tbs`.
    """
    signed = header(_BIT_STRING, len(signature) + 1) + b"\x00" + signature
    length = len(tbs) + len(algorithm) + len(signed)
    return b"".join((header(SEQUENCE, length), tbs, algorithm, signed))


def _extensions(content: CrlContent) -> bytes:
    aki = x509.AuthorityKeyIdentifier({"key_identifier": content.key_identifier})
    found: list[dict[str, Any]] = [
        {"extn_id": "authority_key_identifier", "extn_value": aki},
        {"extn_id": "crl_number", "extn_value": core.Integer(content.number)},
    ]
    if content.base_number is not None:
        value = core.Integer(content.base_number)
        found.append({"extn_id": "delta_crl_indicator", "critical": True, "extn_value": value})
    if content.only_at is not None:
        point = crl.IssuingDistributionPoint({"distribution_point": _point(content.only_at)})
        found.append(
            {"extn_id": "issuing_distribution_point", "critical": True, "extn_value": point}
        )
    if content.freshest:
        points = x509.CRLDistributionPoints(
            [{"distribution_point": _point(url)} for url in content.freshest]
        )
        found.append({"extn_id": "freshest_crl", "extn_value": points})
    if content.expired_since is not None:
        time = core.GeneralizedTime(content.expired_since.astimezone(UTC))
        value = core.ParsableOctetString(
            time.dump()
        )  # an extension that asn1crypto has no name for
        found.append({"extn_id": EXPIRED_CERTS_ON_CRL, "extn_value": value})
    encoded: bytes = crl.TBSCertListExtensions(found).dump()
    return encoded


def _point(url: str) -> x509.DistributionPointName:
    names = x509.GeneralNames([x509.GeneralName("uniform_resource_identifier", url)])
    return x509.DistributionPointName("full_name", names)


def encode_entry(
    serial_number: int, revoked_at: datetime, reason: str, invalidity_date: datetime | None
) -> bytes:
    """Return the DER of one revoked certificate.

    Args:
        serial_number: positive.
        revoked_at: aware; seconds count, fractions do not.
        reason: name of a CRLReason; unspecified is left out (RFC 5280 5.3.1).
        invalidity_date: left out where it is None.
    """
    extensions = _entry_extensions(
        reason, None if invalidity_date is None else invalidity_date.replace(microsecond=0)
    )
    contents = (
        core.Integer(serial_number).dump()
        + encode_time(revoked_at.replace(microsecond=0))
        + extensions
    )
    found: bytes = core.Sequence(contents=contents).dump()
    return found


@lru_cache(maxsize=1024)
def encode_time(time: datetime) -> bytes:
    """Return a Time: UTCTime through 2049, then GeneralizedTime (RFC 5280 5.1.2.4)."""
    time = time.astimezone(UTC)
    kind = "general_time" if time >= _GENERALIZED_FROM else "utc_time"
    found: bytes = x509.Time({kind: time}).dump()
    return found


@lru_cache(maxsize=1024)
def _entry_extensions(reason: str, invalidity_date: datetime | None) -> bytes:
    found = []
    if reason != "unspecified":
        found.append({"extn_id": "crl_reason", "extn_value": crl.CRLReason(_REASONS[reason])})
    if invalidity_date is not None:
        value = core.GeneralizedTime(invalidity_date.astimezone(UTC))
        found.append({"extn_id": "invalidity_date", "extn_value": value})
    return crl.CRLEntryExtensions(found).dump() if found else b""

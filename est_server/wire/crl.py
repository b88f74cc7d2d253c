"""Certificate revocation lists (RFC 5280 5), put together from the DER of their entries.

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

from datetime import UTC, datetime
from functools import lru_cache

from asn1crypto import core, crl, x509

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

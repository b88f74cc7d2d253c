"""What a certificate's row in the ledger says in the terms of OCSP (RFC 6960 2.2): pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    from datetime import timedelta

    from est_server.ports.ledger import CertificateRecord
    from est_server.revocation.ocsp_policy import NeverIssued
    from est_server.wire.ocsp_response import CertStatus

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Finding:
    """The status of one certificate.

    Attributes:
        status: good, revoked or unknown.
        issued: whether the CA issued it; what was not issued is not remembered, since anybody can
            ask about any number.
        revocation_time: whole seconds; for revoked ones.
        revocation_reason: for revoked ones; None if unspecified, which is left out.
        archive_cutoff: for expired ones.
    """

    status: CertStatus
    issued: bool
    revocation_time: datetime | None = None
    revocation_reason: x509.ReasonFlags | None = None
    archive_cutoff: datetime | None = None


def finding(
    record: CertificateRecord | None,
    issuer: x509.Certificate,
    never_issued: NeverIssued,
    now: datetime,
    archive: timedelta | None = None,
) -> Finding:
    """Return what to say about a certificate.

    A certificate that is only ``presumed`` to exist was handed to nobody: whoever shows it has it
    from a crash or a theft, so it is treated like one that was never issued. An operator who wants
    it named as revoked revokes it.

    The archive reaches back to the CA's beginning, or as far as the ledger remembers
    (RFC 6960 4.4.4).

    Args:
        record: the ledger's row; None without one.
        issuer: the CA's certificate.
        never_issued: see `OcspPolicy`.
        now: the time.
        archive: how long after their end certificates are remembered; None: for ever.
    """
    if record is None or record.status == "presumed":
        if never_issued == "unknown":
            return Finding("unknown", issued=False)
        # RFC 6960 2.2: exactly this reason and this time, so that a client can tell
        return Finding("revoked", False, _NEVER, x509.ReasonFlags.certificate_hold)  # noqa: FBT003 - two fields before it
    cutoff = _cutoff(issuer, now, archive) if record.not_after < now else None
    if record.status == "good":
        return Finding("good", issued=True, archive_cutoff=cutoff)
    reason = record.revocation_reason
    return Finding(
        "revoked",
        issued=True,
        revocation_time=(record.revoked_at or now).replace(microsecond=0),
        revocation_reason=None
        if reason is None or reason == "unspecified"
        else x509.ReasonFlags(reason),
        archive_cutoff=cutoff,
    )


def _cutoff(issuer: x509.Certificate, now: datetime, archive: timedelta | None) -> datetime:
    begin = issuer.not_valid_before_utc
    return begin if archive is None else max(begin, now.replace(microsecond=0) - archive)

"""Is a CRL, or a CRL with its delta, what RFC 5280 5 says? Everything that is wrong, in one run.

Validators let much of this pass in silence: OpenSSL applies a delta that has ended, and ignores one
that does not fit its base; others apply a delta across a gap. Here each is a finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.errors import Malformed
from est_server.pki.authority import authority_key_identifier
from est_server.wire.compact_set import verify_compact_set
from est_server.wire.crl import EXPIRED_CERTS_ON_CRL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from est_server.wire.crl_reading import Crl, CrlEntry

_AKI, _NUMBER, _INDICATOR = "2.5.29.35", "2.5.29.20", "2.5.29.27"
_SCOPE, _FRESHEST = "2.5.29.28", "2.5.29.46"
_KNOWN = {_AKI, _NUMBER, _INDICATOR, _SCOPE, _FRESHEST, EXPIRED_CERTS_ON_CRL}
_MOST_OCTETS = 20
_REASONS = {
    "unspecified", "key_compromise", "affiliation_changed", "superseded",
    "cessation_of_operation", "certificate_hold", "privilege_withdrawn",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        rule: stable name, ``crl.…`` or ``delta.…``.
        message: what was found.
    """

    rule: str
    message: str


def check_list(
    crl: Crl, der: bytes, issuer: x509.Certificate, now: datetime, url: str | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with one list, complete or delta, by itself, entries included.

    Args:
        crl: the list.
        der: its octets.
        issuer: the CA's certificate.
        now: the time.
        url: where certificates say that the list is; None if that does not matter.
    """
    yield from check_outline(crl, der, issuer, now, url)
    # entries (RFC 5280 5.1.2.6, 5.3)
    if crl.empty_list:
        yield Finding("crl.empty-list", "revokedCertificates is there and empty")
    seen: set[int] = set()
    for entry in crl.entries():
        yield from _entry(entry, seen, delta=crl.base_number is not None)


def check_outline(
    crl: Crl, der: bytes, issuer: x509.Certificate, now: datetime, url: str | None = None
) -> Iterator[Finding]:
    """Yield what is wrong with a list but for its entries, of which there may be millions."""
    yield from _signed(crl, der, issuer)
    # times (RFC 5280 5.1.2.4, 5.1.2.5)
    if crl.this_update > now:
        yield Finding("crl.future", f"thisUpdate {crl.this_update} is in the future")
    if crl.next_update is None:
        yield Finding("crl.next-update", "nextUpdate is missing")
    elif crl.next_update <= crl.this_update:
        yield Finding("crl.next-update", "nextUpdate is not after thisUpdate")
    elif crl.next_update <= now:
        yield Finding("crl.ended", f"it ended at {crl.next_update}")
    yield from _extensions(crl, url)


def check_delta(delta: Crl, base: Crl) -> Iterator[Finding]:
    """Yield why a delta can't be used with a complete list (RFC 5280 5.2.4, 6.3.3)."""
    if delta.base_number is None:
        yield Finding("delta.indicator", "it is a complete CRL")
        return
    if base.base_number is not None:
        yield Finding("delta.base", "what it should complete is a delta CRL itself")
    if delta.base_number > base.number:
        text = f"it starts from CRL {delta.base_number}; the complete one is {base.number}"
        yield Finding("delta.gap", text)
    # made together they have one number, and say the same
    together = delta.number == base.number and delta.this_update == base.this_update
    if delta.number <= base.number and not together:
        text = f"it is number {delta.number}, the complete CRL is {base.number} already"
        yield Finding("delta.obsolete", text)
    if delta.number <= delta.base_number:
        yield Finding("delta.number", "its number is not above its base's")
    for name, first, second in (
        ("issuer", delta.issuer, base.issuer),
        ("key", delta.key_identifier, base.key_identifier),
        ("algorithm", delta.algorithms, base.algorithms),
        ("scope", delta.scope, base.scope),
    ):
        if first != second:
            yield Finding(f"delta.{name}", f"its {name} is not that of the complete CRL")


def check_set(der: bytes, ca: x509.Certificate, now: datetime) -> Iterator[Finding]:
    """Yield why a compact set can't be believed (docs/compact-set.md)."""
    try:
        found = verify_compact_set(der, ca)
    except Malformed as error:
        yield Finding(error.rule, error.message)
        return
    if found.this_update > now:
        yield Finding("compact-set.future", f"thisUpdate {found.this_update} is in the future")
    if found.next_update <= now:
        yield Finding("compact-set.ended", f"it ended at {found.next_update}")
    if found.key_identifier != authority_key_identifier(ca).key_identifier:
        yield Finding("compact-set.key-identifier", "its key identifier is not the CA's key")


def _signed(crl: Crl, der: bytes, issuer: x509.Certificate) -> Iterator[Finding]:
    if crl.algorithms[0] != crl.algorithms[1]:
        yield Finding("crl.algorithm", "the signature's algorithm is another inside than outside")
    if crl.issuer != issuer.subject.public_bytes():
        yield Finding("crl.issuer", "its issuer is not the CA's subject, octet by octet")
    if crl.key_identifier != authority_key_identifier(issuer).key_identifier:
        yield Finding("crl.key-identifier", "authorityKeyIdentifier is not the CA's key")
    try:
        usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
        if not usage.crl_sign:
            yield Finding("crl.signer", "the CA's certificate may not sign CRLs")
    except x509.ExtensionNotFound:
        yield Finding("crl.signer", "the CA's certificate does not say what its key may do")
    try:
        valid = x509.load_der_x509_crl(der).is_signature_valid(issuer.public_key())  # type: ignore[arg-type]  # a CA key signs
    except (ValueError, TypeError) as error:
        yield Finding("crl.encoding", f"another library can't read it: {error}")
    else:
        if not valid:
            yield Finding("crl.signature", "the CA's key did not sign it")


def _extensions(crl: Crl, url: str | None) -> Iterator[Finding]:
    delta = crl.base_number is not None
    if not 0 < crl.number < 1 << (8 * _MOST_OCTETS - 1):
        yield Finding("crl.number", "CRLNumber is missing, not positive, or too long")
    wanted = {_INDICATOR, _SCOPE}
    for oid in crl.extensions:
        if oid not in _KNOWN and oid in crl.critical:
            yield Finding("crl.critical", f"a critical extension {oid} that nobody here knows")
        elif oid in _KNOWN and (oid in crl.critical) != (oid in wanted):
            kind = "critical" if oid in wanted else "not critical"
            yield Finding("crl.criticality", f"extension {oid} has to be {kind}")
    if crl.scope is not None and len(crl.scope) <= 2:
        yield Finding("crl.scope", "issuingDistributionPoint is empty")
    if url is not None and crl.scope is not None and crl.only_at != url:
        yield Finding("crl.scope", f"it is for {crl.only_at}, certificates say {url}")
    if delta and crl.freshest:
        yield Finding("crl.freshest", "a delta CRL names further delta CRLs")


def _entry(entry: CrlEntry, seen: set[int], *, delta: bool) -> Iterator[Finding]:
    name = f"entry {entry.serial_number:x}"
    if entry.serial_number in seen:
        yield Finding("entry.twice", f"{name} is there twice")
    seen.add(entry.serial_number)
    if not 0 < entry.serial_number < 1 << (8 * _MOST_OCTETS):
        yield Finding("entry.serial", f"{name} is no certificate's number")
    if entry.reason == "remove_from_crl":
        if not delta:
            yield Finding("entry.reason", f"{name}: removeFromCRL is for delta CRLs")
    elif entry.reason not in _REASONS:
        yield Finding("entry.reason", f"{name}: {entry.reason} is for no device's certificate")
    if entry.invalidity_date is not None and entry.invalidity_date > entry.revoked_at:
        yield Finding("entry.invalidity-date", f"{name}: invalidityDate after revocationDate")

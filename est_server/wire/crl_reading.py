"""CRLs as they are read back: to check what was published, and to follow what others see.

The outline of a list is read without touching its entries, of which there may be millions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asn1crypto import core, crl, x509

from est_server.errors import Malformed
from est_server.wire.crl import EXPIRED_CERTS_ON_CRL
from est_server.wire.der import SEQUENCE, children, read_element, require_one_sequence

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

MOST_OCTETS = 1 << 30
_INTEGER, _EXTENSIONS = 0x02, 0xA0
_VERSION_2 = b"\x02\x01\x01"
_UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)
"""What asn1crypto says of octets that it can't read, one way or another."""


@dataclass(frozen=True, slots=True)
class CrlEntry:
    """One revoked certificate.

    Attributes:
        serial_number: the certificate's.
        revoked_at: the revocationDate.
        reason: name of its CRLReason as asn1crypto has it; ``unspecified`` where there is none.
        invalidity_date: None where there is none.
        der: the entry.
    """

    serial_number: int
    revoked_at: datetime
    reason: str
    invalidity_date: datetime | None
    der: bytes


@dataclass(frozen=True, slots=True)
class Crl:
    """A CRL's outline.

    Attributes:
        tbs: DER of what is signed.
        signature: over it.
        algorithms: DER of the signature's AlgorithmIdentifier, inside and outside.
        issuer: DER of the issuer's name.
        this_update: from the list.
        next_update: from the list; None where it is missing.
        number: CRLNumber; 0 where it is missing.
        base_number: BaseCRLNumber; None for a complete CRL.
        key_identifier: from authorityKeyIdentifier; None where it is missing.
        scope: DER of the value of issuingDistributionPoint; None where it is missing.
        only_at: the URL in it, if it has one.
        freshest: URLs of delta CRLs.
        expired_since: expiredCertsOnCRL.
        critical: OIDs of the critical extensions.
        extensions: OIDs of all extensions, in order.
    """

    tbs: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    algorithms: tuple[bytes, bytes]
    issuer: bytes
    this_update: datetime
    next_update: datetime | None
    number: int
    base_number: int | None
    key_identifier: bytes | None
    scope: bytes | None
    only_at: str | None
    freshest: tuple[str, ...]
    expired_since: datetime | None
    critical: frozenset[str]
    extensions: tuple[str, ...]
    _entries: bytes | None = field(repr=False)

    @property
    def empty_list(self) -> bool:
        """Whether there is a list of entries without an entry, which RFC 5280 5.1.2.6 forbids."""
        return self._entries == b""

    def entries(self) -> Iterator[CrlEntry]:
        """Yield the entries.

        Raises:
            Malformed: ``crl.entry``.
        """
        at, block = 0, self._entries or b""
        while at < len(block):
            try:
                _, _, end = read_element(block, at)
                yield _entry(block[at:end])
            except _UNREADABLE as error:
                raise Malformed("crl.entry", f"an entry of the CRL can't be read: {error}") from (
                    error
                )
            at = end


def read_crl(der: bytes) -> Crl:
    """Read a CRL's outline.

    Raises:
        Malformed: ``crl.encoding``, ``crl.trailing-bytes``, ``crl.too-large``.
    """
    if len(der) > MOST_OCTETS:
        raise Malformed("crl.too-large", f"the CRL is larger than {MOST_OCTETS} octets")
    require_one_sequence(der, "crl")
    try:
        return _read(der)
    except _UNREADABLE as error:
        raise Malformed("crl.encoding", f"this is no CRL: {error}") from error


def _read(der: bytes) -> Crl:
    outer = children(der)
    if len(outer) != 3:
        raise ValueError("a CertificateList has three parts")
    tbs, algorithm, signed = outer
    parts = children(tbs)
    if not parts or parts[0] != _VERSION_2:
        raise ValueError("it is not version 2")
    inner, issuer, this_update, *rest = parts[1:]
    next_update = entries = extensions = None
    if rest and rest[0][0] not in {SEQUENCE, _EXTENSIONS}:
        next_update = _time(rest.pop(0))
    if rest and rest[0][0] == SEQUENCE:
        _, start, end = read_element(rest[0])
        entries = rest.pop(0)[start:end]
    if rest and rest[0][0] == _EXTENSIONS:
        _, start, end = read_element(rest[0])
        extensions = rest.pop(0)[start:end]
    if rest:
        raise ValueError("something follows the extensions")
    signature = core.BitString.load(signed, strict=True)
    return Crl(
        tbs=tbs,
        signature=signature.contents[1:],
        algorithms=(inner, algorithm),
        issuer=issuer,
        this_update=_time(this_update),
        next_update=next_update,
        _entries=entries,
        **_extensions(extensions),
    )


def _extensions(der: bytes | None) -> dict[str, Any]:
    found = {} if der is None else {
        extension["extn_id"].dotted: extension
        for extension in crl.TBSCertListExtensions.load(der, strict=True)
    }  # fmt: skip
    if der is not None and len(found) != len(children(der)):
        raise ValueError("an extension is there twice")

    def value(oid: str) -> Any:
        return found[oid]["extn_value"].parsed if oid in found else None

    aki, number, base = value("2.5.29.35"), value("2.5.29.20"), value("2.5.29.27")
    scope, freshest = value("2.5.29.28"), value("2.5.29.46")
    expired = found.get(EXPIRED_CERTS_ON_CRL)
    return {
        "number": 0 if number is None else number.native,
        "base_number": None if base is None else base.native,
        "key_identifier": None if aki is None else aki["key_identifier"].native,
        "scope": None if scope is None else scope.dump(),
        "only_at": None if scope is None else next(iter(_urls(scope["distribution_point"])), None),
        "freshest": tuple(
            url for point in freshest or () for url in _urls(point["distribution_point"])
        ),
        "expired_since": None if expired is None else core.GeneralizedTime.load(
            expired["extn_value"].contents, strict=True
        ).native,
        "critical": frozenset(oid for oid, one in found.items() if one["critical"].native),
        "extensions": tuple(found),
    }  # fmt: skip


def _urls(name: Any) -> list[str]:
    if name.native is None or name.name != "full_name":
        return []
    return [one.native for one in name.chosen if one.name == "uniform_resource_identifier"]


def _entry(der: bytes) -> CrlEntry:
    parts = children(der)
    if der[0] != SEQUENCE or not 2 <= len(parts) <= 3 or parts[0][0] != _INTEGER:
        raise ValueError("it is no certificate's entry")
    reason, invalid = "unspecified", None
    if len(parts) == 3:
        for extension in crl.CRLEntryExtensions.load(parts[2], strict=True):
            match extension["extn_id"].native:
                case "crl_reason":
                    reason = extension["extn_value"].parsed.native
                case "invalidity_date":
                    invalid = extension["extn_value"].parsed.native
    number = core.Integer.load(parts[0], strict=True).native
    return CrlEntry(number, _time(parts[1]), reason, invalid, der)


def _time(der: bytes) -> datetime:
    found: datetime = x509.Time.load(der, strict=True).native
    return found

"""Certification path validation (RFC 5280 6) for certificates that others issued.

pyhanko-certvalidator judges every chain that is new, with explicit anchors, no fetching and an
injected time. That takes about half a millisecond, so the issuer of a device that passed is kept
together with the window in which its whole chain is valid; the next device of the same issuer is
checked here: signature, validity and what `_check_leaf` asks of every device. So is the device
itself, for the next request of its connection, until it or a certificate above it expires. Where a
CA of the chain constrains names, nothing is kept and every device goes the long way. A table of
defects in the tests holds all ways equal. A validator judges paths only: who may enroll is asked of
the ledger each time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import (
    ExpiredError,
    NotYetValidError,
    PathBuildingError,
    PathError,
    ValidationError,
)

from est_server.errors import Unauthenticated
from est_server.pki.certificates import UNREADABLE, read_certificate
from est_server.pki.usages import ANY_EXTENDED_KEY_USAGE, CLIENT_AUTH

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

LONGEST_CHAIN = 10
ISSUERS_KEPT = 1024
LEAVES_KEPT = 128
"""For connections that send one request after the other, as registrars do."""

_UNDERSTOOD = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.CERTIFICATE_POLICIES,
    }
)


Anchors = Literal["explicit", "implicit"]
"""RFC 7030 1.1: anchors that were configured for EST, or those that came with the system."""


@dataclass(frozen=True, slots=True)
class TrustStore:
    """The anchors that one name in server.yaml stands for.

    Attributes:
        name: as in server.yaml.
        anchors: CA certificates that are trusted because the operator put them there.
        intermediates: further CA certificates that complete chains that devices send short.
        kind: whether the operator chose the anchors, or the system has them.
    """

    name: str
    anchors: tuple[x509.Certificate, ...]
    intermediates: tuple[x509.Certificate, ...] = ()
    kind: Anchors = "explicit"


@dataclass(frozen=True, slots=True)
class ValidatedPath:
    """A device certificate that was proven, and the certificate that issued it."""

    leaf: x509.Certificate
    issuer: x509.Certificate


@dataclass(frozen=True, slots=True)
class _Issuer:
    certificate: x509.Certificate
    begin: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class _Leaf:
    path: ValidatedPath
    begin: datetime
    end: datetime


@dataclass(slots=True)
class PathValidator:
    """Validates chains against one trust store; keeps the issuers and devices that passed last."""

    store: TrustStore
    _anchors: tuple[asn1_x509.Certificate, ...] = field(init=False, repr=False)
    _intermediates: tuple[asn1_x509.Certificate, ...] = field(init=False, repr=False)
    _issuers: OrderedDict[bytes, _Issuer] = field(default_factory=OrderedDict, repr=False)
    _leaves: OrderedDict[bytes, _Leaf] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        self._anchors = tuple(_asn1(anchor) for anchor in self.store.anchors)
        self._intermediates = tuple(_asn1(found) for found in self.store.intermediates)

    async def validate(self, chain: Sequence[bytes], at: datetime) -> ValidatedPath:
        """Return the proven leaf of `chain`.

        Args:
            chain: DER certificates as the device sent them, its own first.
            at: the time to judge for.

        Raises:
            Unauthenticated: ``path.too-long``, ``path.malformed``, ``path.is-ca``,
                ``path.purpose``, ``path.critical-extension``, ``path.unknown-issuer``,
                ``path.expired``, ``path.not-yet-valid``, ``path.invalid``.
        """
        if not 1 <= len(chain) <= LONGEST_CHAIN:
            raise Unauthenticated("path.too-long", f"more than {LONGEST_CHAIN} certificates")
        proven = self._leaves.get(chain[0])
        if proven is not None and proven.begin <= at <= proven.end:
            self._leaves.move_to_end(chain[0])
            return proven.path
        leaf = _load(chain[0])
        _check_leaf(leaf)
        issuer = self._known_issuer(leaf, at)
        if issuer is None:
            return await self._validate_whole(leaf, chain, at)
        begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
        _check_validity(begin, end, at)
        path = ValidatedPath(leaf, issuer.certificate)
        proven = _Leaf(path, max(begin, issuer.begin), min(end, issuer.end))
        _keep(self._leaves, chain[0], proven, LEAVES_KEPT)
        return path

    def _known_issuer(self, leaf: x509.Certificate, at: datetime) -> _Issuer | None:
        key = leaf.issuer.public_bytes()
        known = self._issuers.get(key)
        if known is None or not known.begin <= at <= known.end:
            return None
        if not _signed_by(leaf, known.certificate):
            return None  # another CA of the same name, or a forgery: the long way tells
        self._issuers.move_to_end(key)
        return known

    async def _validate_whole(
        self, leaf: x509.Certificate, chain: Sequence[bytes], at: datetime
    ) -> ValidatedPath:
        issuers = [_asn1(_load(der)) for der in chain[1:]]
        context = ValidationContext(
            trust_roots=self._anchors,
            moment=at,
            time_tolerance=timedelta(0),
            allow_fetching=False,
            revocation_mode="soft-fail",
            weak_hash_algos={"md2", "md5", "sha1"},
        )
        try:
            validator = CertificateValidator(
                _asn1(leaf), [*issuers, *self._intermediates], validation_context=context
            )
            path = await validator.async_validate_path()
        except (PathBuildingError, PathError) as error:
            raise Unauthenticated(
                "path.unknown-issuer", f"no chain leads to trust store {self.store.name}"
            ) from error
        except ExpiredError as error:
            raise Unauthenticated("path.expired", "a certificate has expired") from error
        except NotYetValidError as error:
            raise Unauthenticated("path.not-yet-valid", "a certificate is not yet valid") from error
        except (ValidationError, ValueError, TypeError, KeyError, UnsupportedAlgorithm) as error:
            if leaf.issuer == leaf.subject and _signed_by(leaf, leaf):
                raise Unauthenticated(
                    "path.unknown-issuer",
                    f"the certificate is self-signed and not in trust store {self.store.name}",
                ) from error
            raise Unauthenticated(
                "path.invalid", "the certificate's chain is not valid", hint=str(error)
            ) from error
        above = [
            read_certificate(certificate.dump())
            for certificate in path.iter_certs(include_root=True)
        ][:-1]
        if not above:
            raise Unauthenticated("path.is-anchor", "a trust anchor is nobody's device certificate")
        self._keep_issuer(above)
        return ValidatedPath(leaf, above[-1])

    def _keep_issuer(self, above: list[x509.Certificate]) -> None:
        """Keep the last of `above`, a validated chain from the anchor to the leaf's issuer."""
        if any(_constrains_names(certificate) for certificate in above):
            return
        issuer = above[-1]
        bounded = above[1:] or above  # the anchor is trusted for what it is (RFC 5280 6.1.1 d)
        known = _Issuer(
            issuer,
            max(certificate.not_valid_before_utc for certificate in bounded),
            min(certificate.not_valid_after_utc for certificate in bounded),
        )
        _keep(self._issuers, issuer.subject.public_bytes(), known, ISSUERS_KEPT)


def _keep(kept: OrderedDict[bytes, Any], key: bytes, value: object, most: int) -> None:
    """Keep a value as the latest, and of all no more than `most`."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _check_leaf(leaf: x509.Certificate) -> None:
    """Refuse a certificate that can't authenticate a device, whoever issued it."""
    try:
        extensions = leaf.extensions
        _ = leaf.public_key(), leaf.subject, leaf.issuer
    except UNREADABLE as error:
        raise Unauthenticated("path.malformed", "the certificate can't be read") from error
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints) and value.ca:
            raise Unauthenticated("path.is-ca", "a CA certificate is nobody's device certificate")
        if isinstance(value, x509.ExtendedKeyUsage) and not {
            purpose.dotted_string for purpose in value
        } & {CLIENT_AUTH, ANY_EXTENDED_KEY_USAGE}:
            raise Unauthenticated("path.purpose", "its extended key usage lacks clientAuth")
        if isinstance(value, x509.KeyUsage) and not value.digital_signature:
            raise Unauthenticated("path.purpose", "its key usage lacks digitalSignature")
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise Unauthenticated(
                "path.critical-extension",
                f"its critical extension {extension.oid.dotted_string} is not understood",
            )


def _check_validity(begin: datetime, end: datetime, at: datetime) -> None:
    if at > end:
        raise Unauthenticated("path.expired", "a certificate has expired")
    if at < begin:
        raise Unauthenticated("path.not-yet-valid", "a certificate is not yet valid")


def _signed_by(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _constrains_names(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
    except UNREADABLE:
        return True  # who knows
    return any(isinstance(extension.value, x509.NameConstraints) for extension in extensions)


def _load(der: bytes) -> x509.Certificate:
    try:
        return read_certificate(der)
    except ValueError as error:
        raise Unauthenticated("path.malformed", "a certificate can't be read") from error


def _asn1(certificate: x509.Certificate) -> asn1_x509.Certificate:
    return asn1_x509.Certificate.load(certificate.public_bytes(Encoding.DER))

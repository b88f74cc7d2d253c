"""Evidence in a certification request (draft-ietf-lamps-csr-attestation, version 27 and later).

    id-aa-attestation ::= { 1 2 840 113549 1 9 16 2 59 }   -- one attribute, exactly one value

    AttestationBundle ::= SEQUENCE {
        attestations SEQUENCE SIZE (1..MAX) OF AttestationStatement,
        certs        SEQUENCE SIZE (1..MAX) OF LimitedCertChoices OPTIONAL }

    AttestationStatement ::= SEQUENCE {
        type OBJECT IDENTIFIER,
        stmt ANY DEFINED BY type }

    LimitedCertChoices ::= Certificate | [3] IMPLICIT OtherCertificateFormat

Everything is counted before it is read; what is inside a statement is its verifier's. Of the
certificates only X.509 ones are taken: no verifier knows another format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asn1crypto import core

from est_server.errors import Malformed
from est_server.wire.der import SEQUENCE, children, require_one_sequence

if TYPE_CHECKING:
    from est_server.wire.pkcs10 import CertificationRequest

ATTESTATION = "1.2.840.113549.1.9.16.2.59"
MOST_STATEMENTS = 8
MOST_CERTIFICATES = 32
LONGEST_STATEMENT = 49152
LONGEST_CERTIFICATE = 16384
_OID = 0x06
_LONGEST_OID = 64
_RULE = "attestation.encoding"


@dataclass(frozen=True, slots=True)
class AttestationStatement:
    """One statement: its type, dotted, and the DER of its ``stmt``."""

    type: str
    stmt: bytes


@dataclass(frozen=True, slots=True)
class AttestationBundle:
    """What stands in the attribute.

    Attributes:
        der: the bundle.
        statements: at least one, in order.
        certificates: each one DER SEQUENCE; whether it is a certificate is not known yet. Their
            order means nothing.
    """

    der: bytes
    statements: tuple[AttestationStatement, ...]
    certificates: tuple[bytes, ...] = ()


def attestation_bundle(csr: CertificationRequest) -> AttestationBundle | None:
    """Return the evidence of a request, or None.

    Raises:
        Malformed: ``attestation.encoding``, ``attestation.trailing-bytes``,
            ``attestation.too-many``, ``attestation.too-large``,
            ``attestation.certificate-format``.
    """
    for attribute in csr.attributes:
        if attribute.oid == ATTESTATION:
            if len(attribute.values) != 1:
                raise Malformed(_RULE, "the attestation attribute has exactly one value")
            return read_attestation_bundle(attribute.values[0])
    return None


def read_attestation_bundle(der: bytes) -> AttestationBundle:
    """Read a DER AttestationBundle.

    Raises:
        Malformed: as in `attestation_bundle`.
    """
    # (1) the two fields, and nothing behind them
    require_one_sequence(der, "attestation")
    parts = _elements(der, 2)
    if not parts:
        raise Malformed(_RULE, "the bundle has no statements")
    # (2) the statements, counted before any is read
    statements = _elements(parts[0], MOST_STATEMENTS)
    if not statements:
        raise Malformed(_RULE, "the bundle has no statements")
    # (3) the certificates
    certificates = _elements(parts[1], MOST_CERTIFICATES) if len(parts) == 2 else None
    if certificates == []:
        raise Malformed(_RULE, "an empty list of certificates is left out")
    for certificate in certificates or ():
        if certificate[0] != SEQUENCE:
            raise Malformed(
                "attestation.certificate-format",
                "beside evidence only X.509 certificates are read, no attribute certificates",
            )
        if len(certificate) > LONGEST_CERTIFICATE:
            raise Malformed("attestation.too-large", "a certificate beside evidence is too large")
    return AttestationBundle(der, tuple(map(_statement, statements)), tuple(certificates or ()))


def _statement(der: bytes) -> AttestationStatement:
    parts = _elements(der, 2)
    if len(parts) != 2 or parts[0][0] != _OID or len(parts[0]) > _LONGEST_OID:
        raise Malformed(_RULE, "a statement is an object identifier and a value")
    if len(parts[1]) > LONGEST_STATEMENT:
        raise Malformed("attestation.too-large", f"more than {LONGEST_STATEMENT} octets")
    try:
        oid = core.ObjectIdentifier.load(parts[0], strict=True)
        dotted: str = oid.dotted
        again = core.ObjectIdentifier(dotted).dump()
    except (ValueError, TypeError, IndexError) as error:
        raise Malformed(_RULE, "a statement's type can't be read") from error
    if again != parts[0]:
        raise Malformed(_RULE, "a statement's type is not in its one form")
    return AttestationStatement(dotted, parts[1])


def _elements(der: bytes, most: int) -> list[bytes]:
    """Return the elements of the one SEQUENCE that `der` is, at most `most`."""
    if der[:1] != bytes([SEQUENCE]):
        raise Malformed(_RULE, "a SEQUENCE is missing")
    try:
        found = children(der, most)
    except ValueError as error:
        raise Malformed(_RULE, str(error)) from error
    if len(found) > most:
        raise Malformed("attestation.too-many", f"more than {most} elements in a list")
    return found

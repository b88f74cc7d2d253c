"""How TPM evidence stands in an AttestationStatement.

    certify ::= SEQUENCE {                    -- 2.23.133.20.1
        tpmSAttest  OCTET STRING,             -- TPMS_ATTEST
        signature   OCTET STRING,             -- TPMT_SIGNATURE, or a bare RSA value
        tpmTPublic  OCTET STRING OPTIONAL }   -- TPMT_PUBLIC of the certified key

    quote ::= SEQUENCE {
        tpmSAttest  OCTET STRING,
        signature   OCTET STRING,
        pcrs        SEQUENCE OF SEQUENCE { bank INTEGER, index INTEGER, digest OCTET STRING },
        eventLog    [0] IMPLICIT OCTET STRING OPTIONAL }

The first is what the samples of draft-ietf-lamps-csr-attestation have, without the TPM2B sizes; the
second is of the same kind.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

from est_server.errors import Malformed
from est_server.wire.der import OCTET_STRING, SEQUENCE, children, content_of

MOST_OCTETS = 512 * 1024
"""With an event log; what a request may have in all is less by default."""
MOST_REGISTERS = 64
KEPT = 16
"""Statements that were read last: each is read for its nonce, and again to be verified."""
_INTEGER = 0x02
_EVENT_LOG = 0x80
_RULE = "tpm-statement"


@dataclass(frozen=True, slots=True)
class CertifyStatement:
    """TPMS_ATTEST, its signature, and the TPMT_PUBLIC it speaks of; None if it was left out."""

    attest: bytes
    signature: bytes
    public: bytes | None


@dataclass(frozen=True, slots=True)
class PcrValue:
    """The value that a device says a register has."""

    bank: int
    index: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class QuoteStatement:
    """TPMS_ATTEST, its signature, the registers' values, and the log that led to them."""

    attest: bytes
    signature: bytes
    pcrs: tuple[PcrValue, ...]
    event_log: bytes | None = field(repr=False)


@lru_cache(maxsize=KEPT)
def parse_certify(der: bytes) -> CertifyStatement:
    """Read the statement of a key certification.

    Raises:
        Malformed: ``tpm-statement.too-large``, ``tpm-statement.encoding``.
    """
    parts = _parts(der, 2, 3)
    attest, signature, *public = (_content(part, OCTET_STRING) for part in parts)
    return CertifyStatement(attest, signature, public[0] if public else None)


@lru_cache(maxsize=KEPT)
def parse_quote(der: bytes) -> QuoteStatement:
    """Read the statement of a quote.

    Raises:
        Malformed: as `parse_certify`.
    """
    attest, signature, pcrs, *log = _parts(der, 3, 4)
    values = _children(pcrs, MOST_REGISTERS)
    if len(values) > MOST_REGISTERS:
        raise Malformed(f"{_RULE}.encoding", f"more than {MOST_REGISTERS} registers")
    return QuoteStatement(
        _content(attest, OCTET_STRING),
        _content(signature, OCTET_STRING),
        tuple(_register(value) for value in values),
        _content(log[0], _EVENT_LOG) if log else None,
    )


def _register(der: bytes) -> PcrValue:
    parts = _children(der, 3)
    if len(parts) != 3:
        raise Malformed(f"{_RULE}.encoding", "a register has bank, index and digest")
    bank, index = (_number(part) for part in parts[:2])
    return PcrValue(bank, index, _content(parts[2], OCTET_STRING))


def _parts(der: bytes, fewest: int, most: int) -> list[bytes]:
    if len(der) > MOST_OCTETS:
        raise Malformed(f"{_RULE}.too-large", f"more than {MOST_OCTETS} octets")
    parts = _children(der, most)
    if not fewest <= len(parts) <= most:
        raise Malformed(f"{_RULE}.encoding", f"{fewest} to {most} fields")
    return parts


def _children(der: bytes, most: int) -> list[bytes]:
    _content(der, SEQUENCE)
    try:
        return children(der, most)
    except ValueError as error:
        raise Malformed(f"{_RULE}.encoding", str(error)) from error


def _content(der: bytes, tag: int) -> bytes:
    try:
        return content_of(der, tag)
    except ValueError as error:
        raise Malformed(f"{_RULE}.encoding", str(error)) from error


def _number(der: bytes) -> int:
    content = _content(der, _INTEGER)
    if not 1 <= len(content) <= 3 or (len(content) > 1 and content[0] == 0 and content[1] < 0x80):
        raise Malformed(f"{_RULE}.encoding", "a number is not in its one form")
    return int.from_bytes(content, "big", signed=True)

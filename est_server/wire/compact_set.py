"""The revocation state of a CA's certificates as one small string of octets.

    0   4  "CSET"
    4   1  version, 1
    5   1  N, columns of the sieve
    6   1  K, octets of the key identifier
    7   1  0
    8   8  number
    16  8  thisUpdate      } seconds since 1970 in UTC
    24  8  nextUpdate      }
    32  8  begins from     } of the certificates that are covered: the bounds, themselves included,
    40  8  begins until    } of notBefore, and the least notAfter
    48  8  ends from       }
    56  8  seed
    64  4  certificates that are covered
    68  4  those among them that are not good
    72  4  S, octets of each column of the sieve; 0 if N is 0
    76  4  D, octets of the decision; 0 if nothing has to be decided
    80  K  key identifier of the CA (its certificate's subjectKeyIdentifier)
        S  each of N columns
        D  the decision

Numbers are unsigned, the first octet the highest. The keys of the filter (`est_server.wire.ribbon`)
are serial numbers: unsigned, the first octet the highest, without leading zeros. What is here,
docs/compact-set.md says to those who write a check of their own.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

from est_server.errors import Malformed
from est_server.wire.cms_by_ca import decode_signed, verify_by_ca
from est_server.wire.ribbon import BAND, MOST_SIEVE, Filter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

CONTENT_TYPE = "2.25.139285283238781527242952579486068001627"
"""Of the CMS content: a UUID as OID (X.667), which nobody has to register."""
MOST_OCTETS = 1 << 28
"""Enough for 1.5 thousand million certificates."""
_MAGIC, _VERSION = b"CSET", 1
_HEADER = struct.Struct(">4sBBBBQQQQQQ8sIIII")
_LONGEST_KEY_IDENTIFIER = 64
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = int((datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC) - _EPOCH).total_seconds())

Answer = Literal["good", "revoked", "not-covered"]


@dataclass(frozen=True, slots=True)
class CompactSet:
    """Which of the certificates that a CA had issued by some time are good.

    Attributes:
        key_identifier: of the CA.
        number: higher than those of all sets before.
        this_update: aware; whole seconds, as all times here.
        next_update: when the set ends.
        begins_from: the first notBefore that is covered …
        begins_until: … and the last: what begins later may have been issued after the set was made.
        ends_from: the first notAfter that is covered.
        certificates: how many are covered.
        not_good: how many of them are revoked or on hold, or presumed to exist.
        filter: their serial numbers' octets, as `serial_octets` has them.
    """

    key_identifier: bytes
    number: int
    this_update: datetime
    next_update: datetime
    begins_from: datetime
    begins_until: datetime
    ends_from: datetime
    certificates: int
    not_good: int
    filter: Filter = field(repr=False)

    def answer(self, serial_number: int, not_before: datetime, not_after: datetime) -> Answer:
        """Return what the set says of a certificate that its CA has issued.

        The times are the certificate's own. A serial number that the CA never gave to a
        certificate of these times has an answer that means nothing.
        """
        if not self.begins_from <= not_before <= self.begins_until or not_after < self.ends_from:
            return "not-covered"
        bad = self.not_good and self.filter.has(serial_octets(serial_number))
        return "revoked" if bad else "good"


def serial_octets(serial_number: int) -> bytes:
    """Return a serial number as the filter has it: without the zero that DER may begin with."""
    return serial_number.to_bytes((serial_number.bit_length() + 7) // 8, "big")


def encode_compact_set(content: CompactSet) -> bytes:
    """Return the octets of a set, which are to be signed (`est_server.wire.cms_by_ca`)."""
    sieve, decision = content.filter.sieve, content.filter.decision
    head = _HEADER.pack(
        _MAGIC,
        _VERSION,
        len(sieve),
        len(content.key_identifier),
        0,
        content.number,
        *(
            (time - _EPOCH) // timedelta(seconds=1)
            for time in (
                content.this_update,
                content.next_update,
                content.begins_from,
                content.begins_until,
                content.ends_from,
            )
        ),
        content.filter.seed,
        content.certificates,
        content.not_good,
        len(sieve[0]) if sieve else 0,
        len(decision),
    )
    return b"".join((head, content.key_identifier, *sieve, decision))


def decode_compact_set(octets: bytes) -> CompactSet:
    """Return the set that was encoded.

    Raises:
        Malformed: ``compact-set.too-large``, ``compact-set.version``, ``compact-set.encoding``.
    """
    if len(octets) > MOST_OCTETS:
        raise Malformed("compact-set.too-large", f"the set has more than {MOST_OCTETS} octets")
    if len(octets) < _HEADER.size or octets[:4] != _MAGIC:
        raise Malformed("compact-set.encoding", "this is no compact set")
    (_, version, columns, identifier, zero, number, *times, seed, certificates, not_good, size,
     last) = _HEADER.unpack_from(octets)  # fmt: skip
    if version != _VERSION:
        raise Malformed("compact-set.version", f"version {version} is not known here")
    if (
        zero
        or columns > MOST_SIEVE
        or not 0 < identifier <= _LONGEST_KEY_IDENTIFIER
        or not_good > certificates
        or max(times) > _END
        or bool(columns) != bool(size)
        or any(0 < octets_ < BAND for octets_ in (size, last))
        or len(octets) != _HEADER.size + identifier + columns * size + last
    ):
        raise Malformed("compact-set.encoding", "the set's header does not fit the set")
    cut = _cuts(octets, identifier, *[size] * columns, last)
    this_update, next_update, begins_from, begins_until, ends_from = (
        _EPOCH + timedelta(seconds=time) for time in times
    )
    return CompactSet(
        key_identifier=next(cut),
        number=number,
        this_update=this_update,
        next_update=next_update,
        begins_from=begins_from,
        begins_until=begins_until,
        ends_from=ends_from,
        certificates=certificates,
        not_good=not_good,
        filter=Filter(seed, tuple(next(cut) for _ in range(columns)), next(cut)),
    )


def read_compact_set(der: bytes) -> CompactSet:
    """Return the set in a signed message, whoever signed it.

    Raises:
        Malformed: as in `decode_compact_set` and `est_server.wire.cms_by_ca.decode_signed`.
    """
    return decode_compact_set(decode_signed(der, CONTENT_TYPE, most_octets=MOST_OCTETS)[0])


def verify_compact_set(der: bytes, ca: x509.Certificate) -> CompactSet:
    """Return the set in a message that the key of `ca` has signed.

    Raises:
        Malformed: as in `decode_compact_set` and `est_server.wire.cms_by_ca.verify_by_ca`.
    """
    return decode_compact_set(verify_by_ca(der, CONTENT_TYPE, ca, most_octets=MOST_OCTETS))


def _cuts(octets: bytes, *sizes: int) -> Iterator[bytes]:
    at = _HEADER.size
    for size in sizes:
        yield octets[at : at + size]
        at += size

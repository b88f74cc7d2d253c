"""From what codecs raise to what verifiers raise, and the parts that every verifier reads."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from est_server.errors import Malformed
from est_server.pki.certificates import UNREADABLE, read_certificate
from est_server.ports.verifier import EvidenceRefused
from est_server.wire.der import SEQUENCE, read_element

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography import x509

MOST_CERTIFICATE_OCTETS = 16 * 1024


@contextmanager
def refusing() -> Iterator[None]:
    """Turn `Malformed` into `EvidenceRefused` with the same code."""
    try:
        yield
    except Malformed as error:
        raise EvidenceRefused(error.rule, actual=error.message) from error


@lru_cache(maxsize=64)
def certificate(der: bytes) -> x509.Certificate:
    """Read a certificate of a bundle, its extensions and key included.

    What a TPM's NV memory has behind a certificate, padding, is cut off: the size of an index is
    rounded up by some manufacturers. The statements of a bundle share their certificates: what was
    read last is kept.

    Raises:
        EvidenceRefused: ``certificate.malformed``.
    """
    if len(der) > MOST_CERTIFICATE_OCTETS:
        raise EvidenceRefused("certificate.malformed", actual=f"{len(der)} octets")
    try:
        tag, _, end = read_element(der)
        found = read_certificate(der[:end])
        _ = found.extensions, found.public_key(), found.subject, found.issuer
    except UNREADABLE as error:
        raise EvidenceRefused("certificate.malformed", actual=str(error)) from error
    if tag != SEQUENCE or der[end:].strip(b"\x00\xff"):
        raise EvidenceRefused("certificate.malformed", actual="octets behind the certificate")
    return found


def sha256(data: bytes) -> bytes:
    """Return a SHA-256 digest."""
    return hashlib.sha256(data).digest()

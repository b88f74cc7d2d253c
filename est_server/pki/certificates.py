"""Certificates that others made, read so that only one kind of failure comes out."""

from __future__ import annotations

import warnings
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What names, key and extensions of a certificate raise; each is parsed when it is asked for."""


@lru_cache(maxsize=128)
def read_certificate(der: bytes) -> x509.Certificate:
    """Return a certificate.

    Serial numbers that RFC 5280 4.1.2.2 forbids are read all the same, as it wants relying parties
    to: old manufacturers' certificates have them. What was read last is kept: one request looks at
    the same certificate several times, and so do the requests of one connection.

    Raises:
        ValueError: it is none, or of a version that does not exist.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        try:
            return x509.load_der_x509_certificate(der)
        except (TypeError, x509.InvalidVersion) as error:
            raise ValueError(str(error)) from error

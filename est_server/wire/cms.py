"""Certs-only CMS: the degenerate SignedData of RFC 5652 5.1, as cacerts and enroll answer it.

    ContentInfo { id-signedData, SignedData {
        version 1, digestAlgorithms {}, encapContentInfo { id-data },
        certificates [0], signerInfos {} } }
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CERTIFICATES = 100


def certs_only(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return DER; the certificates come out sorted, since they are a SET OF.

    Args:
        certificates: at least one.
    """
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def parse_certs_only(der: bytes) -> tuple[x509.Certificate, ...]:
    """Return the certificates of a certs-only message, in their order on the wire.

    Raises:
        Malformed: ``cms.encoding``, ``cms.too-many``.
    """
    try:
        certificates = tuple(pkcs7.load_der_pkcs7_certificates(der))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Malformed("cms.encoding", "this is not a certs-only CMS message") from error
    if len(certificates) > MOST_CERTIFICATES:
        raise Malformed("cms.too-many", f"more than {MOST_CERTIFICATES} certificates")
    return certificates

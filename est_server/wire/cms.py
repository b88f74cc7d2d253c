"""Certs-only CMS: the degenerate SignedData of RFC 5652 5.1, as cacerts and enroll answer it.

ContentInfo { id-signedData, SignedData {
    version 1, digestAlgorithms {}, encapContentInfo { id-data },
    certificates [0], signerInfos {} } }
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from est_server.errors import Malformed
from est_server.wire.der import require_one_sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_CERTIFICATES = 100
_INDEFINITE = b"\x30\x80"


def certs_only(certificates: Sequence[bytes | x509.Certificate]) -> bytes:
    """Return the DER of a certs-only message; the certificates come out sorted (a SET OF).

    Args:
        certificates: at least one; DER as the ledger keeps it, or parsed as an authority has it.

    Raises:
        Malformed: ``cms.certificate`` if one can't be read.
    """
    try:
        parsed = [
            x509.load_der_x509_certificate(certificate)
            if isinstance(certificate, bytes)
            else certificate
            for certificate in certificates
        ]
    except (ValueError, TypeError, x509.InvalidVersion) as error:
        raise Malformed("cms.certificate", "this is not a certificate") from error
    return pkcs7.serialize_certificates(parsed, Encoding.DER)


def parse_certs_only(der: bytes) -> tuple[bytes, ...]:
    """Return the certificates of a certs-only message as DER, in their order on the wire.

    BER from deployed servers (BouncyCastle writes indefinite lengths) is read too.

    Raises:
        Malformed: ``cms.encoding``, ``cms.trailing-bytes``, ``cms.too-many``.
    """
    if not der.startswith(_INDEFINITE):
        require_one_sequence(der, "cms")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the library remarks on BER
            found = pkcs7.load_der_pkcs7_certificates(der)
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise Malformed("cms.encoding", "this is not a certs-only CMS message") from error
    if len(found) > MOST_CERTIFICATES:
        raise Malformed("cms.too-many", f"more than {MOST_CERTIFICATES} certificates")
    return tuple(certificate.public_bytes(Encoding.DER) for certificate in found)

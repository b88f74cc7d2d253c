"""Signing OCSP responses with the key of an authorized responder (RFC 6960 4.2.2.2).

cryptography builds and signs a response about one certificate. It writes the CertID in its own
form, has no single extensions and takes no second certificate; what needs those is put together in
`est_server.wire.ocsp_response` and signed here with the same key and algorithm. Both ways give the
same octets for what both can say.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from est_server.pki.authority import signature_hash
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.wire.der import children, read_element
from est_server.wire.ocsp import NONCE
from est_server.wire.ocsp_response import (
    EXTENDED_REVOKE,
    NULL,
    encode_response,
    encode_response_data,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.wire.ocsp_response import SingleResponse

CERT_ID_HASHES: dict[str, type[hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1,  # RFC 5019 2.1.1 has clients use it; what it names needs no secrecy
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}
"""The hashes that issuers are known by, in the names of `est_server.wire.ocsp`."""

IssuerKey = tuple[str, bytes, bytes]
"""Hash algorithm, hash of the issuer's name, hash of its key: what a CertID says of an issuer."""

_VERSION = 0xA0
_STATUS = {
    "good": ocsp.OCSPCertStatus.GOOD,
    "revoked": ocsp.OCSPCertStatus.REVOKED,
    "unknown": ocsp.OCSPCertStatus.UNKNOWN,
}


@dataclass(frozen=True, slots=True)
class ResponseSigner:
    """A responder's certificate and key.

    Attributes:
        certificate: issued directly by the CA whose certificates are asked about.
        key: of the certificate.
    """

    certificate: x509.Certificate
    key: CertificateIssuerPrivateKeyTypes = field(repr=False)
    _der: bytes = field(init=False, repr=False)
    _key_hash: bytes = field(init=False, repr=False)
    _algorithm: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_der", self.certificate.public_bytes(Encoding.DER))
        public = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        object.__setattr__(self, "_key_hash", public.digest)
        object.__setattr__(self, "_algorithm", signature_algorithm(self.key))

    def sign(
        self,
        responses: Sequence[SingleResponse],
        *,
        produced_at: datetime,
        nonce: bytes | None = None,
        extended_revoke: bool = False,
    ) -> bytes:
        """Return the DER of a signed OCSPResponse; its responderID is byKey.

        Args:
            responses: at least one.
            produced_at: the time; the library takes its own, which is the same but for tests.
            nonce: the value from the request (RFC 9654 2.1).
            extended_revoke: say that ``revoked`` may mean "never issued" (RFC 6960 4.4.8).
        """
        extensions = [] if nonce is None else [(NONCE, nonce)]
        if extended_revoke:
            extensions.append((EXTENDED_REVOKE, NULL))
        if len(responses) == 1 and _library_can(responses[0]):
            return self._by_library(responses[0], extensions)
        data = encode_response_data(
            responses,
            responder_key_hash=self._key_hash,
            produced_at=produced_at,
            extensions=extensions,
        )
        return encode_response(data, self._algorithm, sign_and_check(self.key, data), self._der)

    def _by_library(
        self, response: SingleResponse, extensions: Sequence[tuple[str, bytes]]
    ) -> bytes:
        cert_id = response.cert_id
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                cert_id.issuer_name_hash,
                cert_id.issuer_key_hash,
                cert_id.serial_number,
                CERT_ID_HASHES[cert_id.hash_algorithm](),
                _STATUS[response.status],
                response.this_update,
                response.next_update,
                response.revocation_time,
                response.revocation_reason,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
            .certificates([self.certificate])
        )
        for oid, value in extensions:
            extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), value)
            builder = builder.add_extension(extension, critical=False)
        signed = builder.sign(self.key, signature_hash(self.key))
        return signed.public_bytes(Encoding.DER)


def issuer_keys(issuer: x509.Certificate) -> Iterator[IssuerKey]:
    """Yield what a CertID may say of an issuer, by each hash (RFC 6960 4.1.1).

    The octets are cut out of the certificate: encoded again they might differ.
    """
    fields = children(issuer.tbs_certificate_bytes)
    if fields[0][0] == _VERSION:
        del fields[0]
    _, _, _, _, name, spki, *_ = fields
    bits = children(spki)[1]
    _, start, _ = read_element(bits)
    for algorithm, make in CERT_ID_HASHES.items():
        digests = []
        for data in (name, bits[start + 1 :]):  # the first octet counts unused bits
            digest = hashes.Hash(make())
            digest.update(data)
            digests.append(digest.finalize())
        yield algorithm, digests[0], digests[1]


def _library_can(response: SingleResponse) -> bool:
    cert_id = response.cert_id  # the library writes no negative number, though one may be asked for
    return cert_id.usual and cert_id.serial_number >= 0 and response.archive_cutoff is None

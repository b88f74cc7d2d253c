"""fullcmc (RFC 7030 4.3): a Full PKI Request of CMC for the same use case as simpleenroll.

Who asks is told by TLS and HTTP Basic, as everywhere. The message's own signature must come from
the same hands: from the certificate of the connection, where that is what was believed, or from the
key that the request is for (RFC 5272 3.2.1, the subjectKeyIdentifier form). The identity proof of
RFC 5272 6.2 can't be checked, since a shared secret is kept as a verifier only, and is refused with
every other control that has no meaning here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.errors import Malformed
from est_server.wire.pkcs10 import parse_csr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    from est_server.enrollment.request import Enrolled, EnrollmentRequest
    from est_server.enrollment.rulebook import Asker
    from est_server.enrollment.service import EnrollmentService
    from est_server.ports.ledger import Operation
    from est_server.wire.cmc import FullPkiRequest, SignerIdentifier
    from est_server.wire.pkcs10 import CertificationRequest


async def certify_message(
    service: EnrollmentService, asker: Asker, request: EnrollmentRequest, message: FullPkiRequest
) -> Enrolled:
    """Return the certificate for a Full PKI Request.

    With a certificate of ours it is a renewal, otherwise a first enrollment: CMC has one operation
    for both.

    Args:
        service: decides and issues.
        asker: as authenticated, for a renewal if there was a certificate of ours.
        request: what was received.
        message: its body, read.

    Raises:
        Malformed: ``cmc.signer``, ``cmc.signature``, ``cmc.algorithm``, and those of the PKCS #10.
        EstServerError: as `EnrollmentService.enroll`.
    """
    csr = parse_csr(message.csr)
    believed = asker.identity.method != "credential"
    leaf = request.tls.client_chain[:1] if believed else ()
    message.verify(_key_of(message.signer, leaf, csr))
    renewal = asker.identity.method in {"own-certificate", "other-ca"}
    operation: Operation = "simplereenroll" if renewal else "simpleenroll"
    return await service.certify(
        asker,
        replace(request, operation=operation),
        csr,
        pop_witness=message.pop_witness,
    )


def _key_of(
    signer: SignerIdentifier, leaf: tuple[bytes, ...], csr: CertificationRequest
) -> PublicKeyTypes:
    for der in leaf:
        certificate = x509.load_der_x509_certificate(der)  # it was believed, and so is well formed
        if _is(signer, certificate):
            return certificate.public_key()
    named = signer.key_identifier
    if csr.public_key is not None and named is not None and named == _key_identifier(csr):
        return csr.public_key
    raise Malformed(
        "cmc.signer",
        "the message is signed neither with the certificate of its TLS connection nor with the key "
        "that it asks for",
    )


def _is(signer: SignerIdentifier, certificate: x509.Certificate) -> bool:
    if signer.issuer_and_serial is not None:
        wanted = certificate.issuer.public_bytes(), certificate.serial_number
        return signer.issuer_and_serial == wanted
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return found.digest == signer.key_identifier


def _key_identifier(csr: CertificationRequest) -> bytes | None:
    """Return the requested subjectKeyIdentifier, by which RFC 5272 3.2.1 has the signer named."""
    for extension in csr.extensions:
        if isinstance(extension.value, x509.SubjectKeyIdentifier):
            return extension.value.digest
    return None

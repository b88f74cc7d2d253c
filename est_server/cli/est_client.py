"""The client's side of EST (RFC 7030): one server, explicitly trusted, one request at a time.

Trust is never implicit: either the anchors are given, or a fingerprint that the operator has from
elsewhere. In the second case /cacerts is fetched once without trust, as RFC 7030 4.1.1 has it; no
credential is sent on that connection, and everything that counts is asked for again on one whose
server chains to the anchor with that fingerprint.
"""

from __future__ import annotations

import base64
import hmac
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.cli.est_exchange import ATTRIBUTES, CERTIFICATES, Target, ask, exchange
from est_server.errors import Malformed, Unauthenticated
from est_server.wire.cms import parse_certs_only
from est_server.wire.est_body import encode_body
from est_server.wire.multipart import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from est_server.wire.multipart import Part


def anchors_of(where: Target, root: Path | None, fingerprint: str | None) -> str:
    """Return the explicit trust anchors as PEM.

    Args:
        where: asked for its certificates if only a fingerprint is known.
        root: PEM file.
        fingerprint: SHA-256 of an anchor, hexadecimal, colons or not.

    Raises:
        Malformed: ``client.root``, ``client.fingerprint``.
        Unauthenticated: ``client.fingerprint-mismatch``: the server has no such certificate.
        BackendUnavailable: as in `ask`.
    """
    if root is not None:
        try:
            found = x509.load_pem_x509_certificates(root.read_bytes())
        except ValueError as error:
            raise Malformed("client.root", f"{root} holds no PEM certificates") from error
        return _pem(found)
    text = (fingerprint or "").upper().removeprefix("SHA256").strip(" :").replace(":", "")
    try:
        wanted = bytes.fromhex(text)
    except ValueError:
        wanted = b""
    if len(wanted) != hashes.SHA256.digest_size:
        raise Malformed("client.fingerprint", "a SHA-256 fingerprint has 64 hexadecimal digits")
    untrusted = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    untrusted.check_hostname = False
    untrusted.verify_mode = ssl.CERT_NONE  # RFC 7030 4.1.1: the fingerprint decides, not TLS
    answer = exchange(where, untrusted, "GET", "cacerts", None, {}, CERTIFICATES)
    for der in parse_certs_only(answer):
        certificate = x509.load_der_x509_certificate(der)
        if hmac.compare_digest(certificate.fingerprint(hashes.SHA256()), wanted):
            return _pem([certificate])
    raise Unauthenticated(
        "client.fingerprint-mismatch",
        "the server has no certificate with this fingerprint",
        hint="compare with what `est-server init` printed; somebody may be in between",
    )


@dataclass(frozen=True, slots=True)
class EstClient:
    """Asks one server over TLS that is verified.

    Attributes:
        where: the server.
        context: trusts the explicit anchors only; may hold a client certificate.
        basic: user name and password, sent with enrollments.
    """

    where: Target
    context: ssl.SSLContext
    basic: tuple[str, str] | None = None

    def ca_certificates(self) -> tuple[bytes, ...]:
        """Return the CA's certificates as DER (RFC 7030 4.1.2)."""
        return parse_certs_only(
            exchange(self.where, self.context, "GET", "cacerts", None, {}, CERTIFICATES)
        )

    def csr_attributes(self) -> bytes | None:
        """Return the DER of what the server wants to see in a CSR; None for nothing."""
        found = exchange(self.where, self.context, "GET", "csrattrs", None, {}, ATTRIBUTES)
        return found or None

    def enroll(self, operation: str, csr: bytes) -> tuple[bytes, ...]:
        """Send a PKCS #10 request to simpleenroll or simplereenroll and return certificates.

        Raises:
            Pending: 202; ask again with the same key.
            Unauthenticated, Denied, NotFound, Malformed: the server's refusal, in its words.
            BackendUnavailable: it can't be reached or can't answer now.
        """
        body, headers = encode_body(csr, wrap=True), self._headers()
        return parse_certs_only(
            exchange(self.where, self.context, "POST", operation, body, headers, CERTIFICATES)
        )

    def make_key(self, csr: bytes) -> tuple[tuple[Part, ...], bytes]:
        """Send a PKCS #10 request to serverkeygen (RFC 7030 4.4).

        Returns:
            The parts of the answer, and DER of the certificate that the server's TLS showed.

        Raises:
            As in `enroll`.
        """
        answer = ask(
            self.where,
            self.context,
            "POST",
            "serverkeygen",
            encode_body(csr, wrap=True),
            self._headers(),
        )
        return parse_multipart(answer.content_type, answer.content), answer.server_certificate

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/pkcs10", "Content-Transfer-Encoding": "base64"}
        if self.basic is not None:
            token = base64.b64encode(":".join(self.basic).encode()).decode()
            headers["Authorization"] = f"Basic {token}"
        return headers


def trusting(anchors: str, certificate: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    """Return a context that takes servers under `anchors` only, by name.

    Args:
        anchors: PEM.
        certificate: files of the client's certificate (with its chain) and key.

    Raises:
        Malformed: ``client.certificate``.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an anchor may be an issuing CA
    context.load_verify_locations(cadata=anchors)
    if certificate is not None:
        try:
            context.load_cert_chain(*certificate)
        except ssl.SSLError as error:
            text = f"certificate and key can't be used for TLS: {error.reason or error}"
            raise Malformed("client.certificate", text) from error
    return context


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(found.public_bytes(Encoding.PEM).decode("ascii") for found in certificates)

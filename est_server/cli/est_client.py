"""The client's side of EST (RFC 7030): one server, explicitly trusted, one request at a time.

Trust is never implicit: either the anchors are given, or a fingerprint that the operator has from
elsewhere. In the second case /cacerts is fetched once without trust, as RFC 7030 4.1.1 has it; no
credential is sent on that connection, and everything that counts is asked for again on one whose
server chains to the anchor with that fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import http.client
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.errors import (
    BackendUnavailable,
    Denied,
    EstServerError,
    Malformed,
    NotFound,
    Pending,
    Unauthenticated,
)
from est_server.wire.cms import parse_certs_only
from est_server.wire.est_body import encode_body
from est_server.wire.multipart import parse_multipart

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from est_server.wire.multipart import Part

_TIMEOUT = 60.0
_LONGEST_ANSWER = 1 << 20
_WELL_KNOWN = "/.well-known/est"
_CERTIFICATES = "application/pkcs7-mime"
_ATTRIBUTES = "application/csrattrs"


@dataclass(frozen=True, slots=True)
class Target:
    """Where one server's EST resources are."""

    host: str
    port: int
    path: str


def target(url: str, label: str | None) -> Target:
    """Return what ``https://host:8443`` means, with or without the well-known path.

    Raises:
        Malformed: ``client.url``.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or 443
    except ValueError:
        port = 0
    if parts.scheme != "https" or not parts.hostname or not port or parts.query or parts.fragment:
        raise Malformed("client.url", f"{url!r} is no URL like https://est.example.net:8443")
    path = parts.path.rstrip("/")
    if not path:
        path = _WELL_KNOWN
    elif not path.startswith(_WELL_KNOWN):
        raise Malformed("client.url", f"{path} does not begin with {_WELL_KNOWN} (RFC 7030 3.2.2)")
    if label is not None:
        path = f"{path}/{quote(label, safe='')}"
    return Target(parts.hostname, port, path)


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
    answer = _exchange(where, untrusted, "GET", "cacerts", None, {}, _CERTIFICATES)
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
            _exchange(self.where, self.context, "GET", "cacerts", None, {}, _CERTIFICATES)
        )

    def csr_attributes(self) -> bytes | None:
        """Return the DER of what the server wants to see in a CSR; None for nothing."""
        found = _exchange(self.where, self.context, "GET", "csrattrs", None, {}, _ATTRIBUTES)
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
            _exchange(self.where, self.context, "POST", operation, body, headers, _CERTIFICATES)
        )

    def make_key(self, csr: bytes) -> tuple[tuple[Part, ...], bytes]:
        """Send a PKCS #10 request to serverkeygen (RFC 7030 4.4).

        Returns:
            The parts of the answer, and DER of the certificate that the server's TLS showed.

        Raises:
            As in `enroll`.
        """
        answer = _ask(
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


def _exchange(
    where: Target,
    context: ssl.SSLContext,
    method: str,
    operation: str,
    body: bytes | None,
    headers: dict[str, str],
    media_type: str,
) -> bytes:
    """Return the DER of an answer; empty for 204."""
    answer = _ask(where, context, method, operation, body, headers)
    if not answer.content:
        if media_type == _ATTRIBUTES:
            return b""
        raise Malformed("remote.empty", f"{operation} has an empty answer")
    found = answer.content_type.partition(";")[0].strip().lower()
    if found != media_type:
        raise Malformed("remote.media-type", f"{operation} answers {found}, not {media_type}")
    try:
        return base64.b64decode(answer.content.translate(None, b" \t\r\n"), validate=True)
    except binascii.Error as error:
        raise Malformed("remote.base64", f"{operation} does not answer base64") from error


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server answered, and the certificate that its TLS showed."""

    content_type: str
    content: bytes = field(repr=False)
    server_certificate: bytes


def _ask(
    where: Target,
    context: ssl.SSLContext,
    method: str,
    operation: str,
    body: bytes | None,
    headers: dict[str, str],
) -> _Answer:
    """Return an answer with status 200 or 204."""
    connection = http.client.HTTPSConnection(
        where.host, where.port, timeout=_TIMEOUT, context=context
    )
    try:
        connection.request(method, f"{where.path}/{operation}", body, headers)
        answer = connection.getresponse()
        shown = connection.sock.getpeercert(binary_form=True) if connection.sock else None
        content = answer.read(_LONGEST_ANSWER + 1)
    except ssl.SSLCertVerificationError as error:
        raise BackendUnavailable(
            "remote.untrusted",
            f"{where.host}:{where.port} is not trusted: {error.verify_message}",
            hint="give the right --root, and a --url with a name that its certificate has",
        ) from error
    except (OSError, http.client.HTTPException) as error:
        text = f"{where.host}:{where.port} can't be asked: {error or type(error).__name__}"
        raise BackendUnavailable("remote.unreachable", text) from error
    finally:
        connection.close()
    if answer.status not in {200, 204}:
        raise _refusal(answer.status, content, answer.headers.get("Retry-After"))
    if len(content) > _LONGEST_ANSWER:
        raise Malformed(
            "remote.too-large", f"{operation} answers more than {_LONGEST_ANSWER} octets"
        )
    kind = answer.headers.get("Content-Type", "")
    return _Answer(kind, b"" if answer.status == 204 else content, shown or b"")


def _refusal(status: int, content: bytes, retry_after: str | None) -> EstServerError:
    """Return the server's refusal, in its own words where it has some."""
    said = content[:500].decode("utf-8", "replace").strip() or "no reason was given"
    said = f"{status}: {''.join(mark if mark.isprintable() else ' ' for mark in said)}"
    seconds = int(retry_after) if retry_after and retry_after.isdecimal() else 60
    match status:
        case 202:
            text = f"not decided yet; ask again in {seconds} seconds, with the same key"
            return Pending("remote.pending", text, retry_after=seconds)
        case 401:
            return Unauthenticated("remote.unauthenticated", said)
        case 404:
            return NotFound("remote.not-found", said, hint="check --label")
        case 429:
            return BackendUnavailable("remote.busy", said, retry_after=seconds)
    if status >= 500:
        return BackendUnavailable("remote.failed", said, retry_after=seconds)
    return Denied("remote.refused", said)


def _pem(certificates: Sequence[x509.Certificate]) -> str:
    return "".join(found.public_bytes(Encoding.PEM).decode("ascii") for found in certificates)

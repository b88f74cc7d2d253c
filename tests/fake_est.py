"""An EST server that fails as it is told to, in place of an upstream; over TLS, in a thread."""

from __future__ import annotations

import ssl
import threading
from base64 import b64decode, b64encode
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from est_server.pki.authority import make_server_certificate, plain_key
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.testing.issuer import FakeIssuer

if TYPE_CHECKING:
    from pathlib import Path

WRONG = {"wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"}
LASTING = {"pending", "unavailable", ""}
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


@dataclass
class FakeEst:
    """One server.

    Attributes:
        folder: its key, and a file for each certificate that it made.
        fault: what goes wrong with the next enrollment.
        says: status and text of the next refusal.
        retry_after: what it says with 202 and 503.
        cacerts: what /cacerts holds; 404 when empty.
        repeats: whether the same request gets the same certificate.
        asked: requests, DER.
        taken: those that `heal` will carry out; `decided` has the answers that are polled for.
    """

    folder: Path
    fault: str = ""
    says: tuple[int, bytes] = (403, b"no")
    retry_after: str = "33"
    cacerts: list[x509.Certificate] = field(default_factory=list)
    repeats: bool = True
    asked: list[bytes] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    decided: dict[bytes, x509.Certificate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.issuer = FakeIssuer.in_folder(self.folder)
        found = self.issuer.certificates()
        self.cacerts = [found.issuer, *found.chain]

    def certificates(self) -> list[x509.Certificate]:
        """Return what was made."""
        return [
            x509.load_pem_x509_certificate(path.read_bytes())
            for path in sorted(self.folder.glob("*.made"))
        ]

    def heal(self) -> None:
        self.fault = ""
        for der in self.taken:
            self.decided[der] = self.make(der)
        self.taken.clear()

    def make(self, der: bytes, fault: str = "") -> x509.Certificate:
        """Return the certificate of a request, the earlier one where there is one."""
        path = self.folder / f"{sha256(der).hexdigest()}.made"
        if self.repeats and path.exists():
            return x509.load_pem_x509_certificate(path.read_bytes())
        csr = x509.load_der_x509_csr(der)
        try:
            san = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            san = x509.SubjectAlternativeName([])
        now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a server's own clock
        plan = CertificatePlan(
            ca="est",
            subject=csr.subject,
            subject_alternative_names=tuple(san),
            spki=csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_algorithm="",
            not_before=now,
            # what it gives to everybody; longer than anybody ordered, if that is the fault
            not_after=now + timedelta(minutes=3_000_000 if fault == "wrong-validity" else 50),
            key_usage=("digitalSignature",),
            extended_key_usage=(CLIENT_AUTH,),
        )
        how = fault if fault in WRONG - {"wrong-validity"} else None
        certificate = self.issuer.certify(plan, fault=how)
        if not self.repeats:
            path = self.folder / f"{certificate.serial_number:x}.made"
        path.with_suffix(".tmp").write_bytes(certificate.public_bytes(Encoding.PEM))
        path.with_suffix(".tmp").replace(path)
        return certificate

    def enroll(self, der: bytes) -> tuple[int, bytes] | None:
        """Return status and body; None to hang up."""
        self.asked.append(der)
        fault, self.fault = self.fault, self.fault if self.fault in LASTING else ""
        match fault:
            case "refused":
                return self.says
            case "throttle":
                return 429, b""
            case "unavailable":
                return 503, b""
            case "pending":
                self.taken = [*{*self.taken, der}]
                return 202, b""
            case "timeout-after-accept":
                self.taken.append(der)
                return None
        certificate = self.decided.pop(der, None) or self.make(der, fault)
        return None if fault == "lost-reply" else (200, certs_only(certificate))


def certs_only(*found: x509.Certificate) -> bytes:
    return b64encode(pkcs7.serialize_certificates(list(found), Encoding.DER))


@contextmanager
def answering(fake: FakeEst, port: int = 0):
    """Serve; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if fake.fault == "unavailable":
                return self._answer(503, b"")
            return self._answer(200 if fake.cacerts else 404, certs_only(*fake.cacerts))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = fake.enroll(b64decode(body))
            if answer is None:
                self.close_connection = True
                self.connection.close()
            else:
                self._answer(*answer)

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            if status in {202, 429, 503}:
                self.send_header("Retry-After", fake.retry_after)
            self.send_header("Content-Type", "application/pkcs7-mime")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_tls(fake))
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    server.socket = context.wrap_socket(
        server.socket, server_side=True, do_handshake_on_connect=False
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _tls(fake: FakeEst) -> Path:
    now = datetime.now(UTC)  # noqa: TID251 - a real certificate
    key = generate_key("EC-P256")
    certificate = make_server_certificate(
        fake.issuer.root, ["127.0.0.1"], key.public_key(), lifetime=timedelta(days=9), now=now
    )
    path = fake.folder / "tls.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + plain_key(key))
    return path

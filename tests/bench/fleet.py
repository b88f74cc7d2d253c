"""Devices with a manufacturer's certificates, and the requests that they send."""

from __future__ import annotations

import base64
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from clients import Exchange
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from est_server.pki.authority import Authority, make_issuing, make_root

if TYPE_CHECKING:
    from pathlib import Path

    from clients import Share

_LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Fleet:
    """A folder with ``0.pem``, ``1.pem``, …: key, certificate and chain of each device.

    Attributes:
        path: the folder.
        size: how many devices.
        first: number of the first one.
    """

    path: Path
    size: int
    first: int = 0

    def of(self, share: Share, *, one_a_thread: bool) -> list[int]:
        """Return the devices of one client process, so that none is in two."""
        mine = list(range(self.first + share.index, self.first + self.size, share.processes))
        return mine[: share.threads] if one_a_thread else mine


def serial_number(device: int) -> str:
    """Return the name by which the manufacturer knows a device."""
    return f"ACME-{device:05}"


def manufacture(path: Path, size: int) -> tuple[Fleet, Path]:
    """Make a manufacturer with a root and an issuing CA, and its devices.

    Returns:
        The fleet, and the root's PEM file.
    """
    path.mkdir(parents=True)
    now = datetime.now(UTC)  # noqa: TID251 - nothing here is decided
    root = make_root("Acme Root", "EC-P256", lifetime=_LIFETIME, now=now)
    issuing = make_issuing(root, "Acme Devices", "EC-P256", lifetime=_LIFETIME, now=now)
    for device in range(size):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _identity(issuing, device, key, now)
        write_identity(path, device, key, certificate, issuing.certificate)
    trusted = path / "root.pem"
    trusted.write_bytes(root.certificate.public_bytes(Encoding.PEM))
    return Fleet(path, size), trusted


def write_identity(
    path: Path, device: int, key: ec.EllipticCurvePrivateKey, *chain: x509.Certificate
) -> None:
    """Write what a device shows in TLS."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem += b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)
    (path / f"{device}.pem").write_bytes(pem)


@lru_cache(maxsize=4096)
def context(fleet: Fleet, device: int, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return the TLS of a device: one version, never a resumed session."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE  # the server is measured, not believed
    made.minimum_version = made.maximum_version = version
    made.load_cert_chain(fleet.path / f"{device}.pem")
    return made


def get(fleet: Fleet, version: ssl.TLSVersion, path: str, share: Share) -> list[Exchange]:
    """Return GET requests of `path`, each from the next device."""
    devices = fleet.of(share, one_a_thread=False)
    request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    return [
        Exchange(context(fleet, devices[at % len(devices)], version), request)
        for at in range(share.operations)
    ]


def enroll(
    fleet: Fleet, version: ssl.TLSVersion, path: str, share: Share, *, keep_alive: bool = False
) -> list[Exchange]:
    """Return enrollments, each from the next device and each for a new key."""
    devices = fleet.of(share, one_a_thread=keep_alive)
    turns = (devices[at % len(devices)] for at in range(share.operations))
    return [
        Exchange(context(fleet, device, version), post(path, device, new_key())) for device in turns
    ]


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def post(path: str, device: int, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a request for a certificate in the names of the ``router`` profile."""
    number = serial_number(device)
    san = x509.SubjectAlternativeName([x509.DNSName(f"r{device}.routers.example.net")])
    csr = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(
            x509.Name(
                [
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example Networks"),
                    x509.NameAttribute(NameOID.COMMON_NAME, number),
                ]
            )
        )
        .add_extension(san, critical=False)
        .sign(key, hashes.SHA256())
    )
    body = base64.b64encode(csr.public_bytes(Encoding.DER))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/pkcs10\r\n"
        f"Content-Transfer-Encoding: base64\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _identity(
    issuer: Authority, device: int, key: ec.EllipticCurvePrivateKey, now: datetime
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, serial_number(device))]))
        .issuer_name(issuer.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=20))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(issuer.key, hashes.SHA256())
    )

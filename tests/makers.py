"""Manufacturers of devices, and the certificates (IDevID) that they give them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from interop.conformance.connection import Identity

DAY = timedelta(days=1)
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any


@dataclass(frozen=True, slots=True)
class Maker:
    """A root, an intermediate, and where device certificates are written."""

    folder: Path
    root: Holder
    intermediate: Holder

    def device(self, serial: str | None = None, *, chain: bool = True, **how: Any) -> Identity:
        """Return the files of a new device's certificate.

        Args:
            serial: its serialNumber; None for a new one.
            chain: whether it sends the intermediate.
            how: of `certificate`.
        """
        holder = certificate(
            serial or f"SN-{secrets.token_hex(4)}",
            self.intermediate,
            **{"purposes": [CLIENT], **how},
        )
        above = [self.intermediate.certificate] if chain else []
        return write(self.folder, holder, *above)


def maker(folder: Path, name: str) -> Maker:
    """Return a new manufacturer."""
    folder.mkdir(parents=True, exist_ok=True)
    root = certificate(f"{name} Root", None, ca=True)
    return Maker(folder, root, certificate(f"{name} Devices", root, ca=True))


def certificate(
    name: str,
    issuer: Holder | None,
    *,
    ca: bool = False,
    days: int = 3000,
    purposes: list[x509.ObjectIdentifier] | None = None,
) -> Holder:
    """Return a new certificate; a negative number of days makes one that expired."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.SERIAL_NUMBER, name)])
    signer = issuer.key if issuer else key
    now = datetime.now(UTC)  # noqa: TID251 - real certificates for a real server
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 400 * DAY)
        .not_valid_after(now + days * DAY)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    return Holder(builder.sign(signer, hashes.SHA256()), key)


def write(folder: Path, holder: Holder, *above: x509.Certificate) -> Identity:
    """Write a certificate, what is above it, and its key."""
    stem = folder / secrets.token_hex(8)
    found = Identity(stem.with_suffix(".pem"), stem.with_suffix(".key"))
    chain = (holder.certificate, *above)
    found.certificate.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in chain))
    found.key.write_bytes(
        holder.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return found

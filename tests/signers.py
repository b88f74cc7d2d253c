"""Certificates of devices, and of who made them, with any extension; well made or badly."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tokens import spki

if TYPE_CHECKING:
    from collections.abc import Sequence

MADE = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def extension(oid: str, value: bytes, *, critical: bool = True) -> x509.Extension[Any]:
    number = x509.ObjectIdentifier(oid)
    return x509.Extension(number, critical, x509.UnrecognizedExtension(number, value))


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody with a key and a certificate."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def spki(self) -> bytes:
        return spki(self.key)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def issue(
        self, subject: str, *extensions: x509.Extension[Any], ca: bool | None = True,
        key: ec.EllipticCurvePrivateKey | None = None, until: datetime = FOREVER,
    ) -> Signer:  # fmt: skip
        """Return who holds a certificate by this one; `ca` is None for no basicConstraints."""
        return _made(self, subject, extensions, ca, key, until)


def _made(
    by: Signer | None, subject: str, extensions: Sequence[x509.Extension[Any]], ca: bool | None,
    key: ec.EllipticCurvePrivateKey | None, until: datetime,
) -> Signer:  # fmt: skip
    mine = key or ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(by.certificate.subject if by else name(subject))
        .public_key(mine.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(MADE - timedelta(days=1))
        .not_valid_after(until)
    )
    if ca is not None:
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True)
    for one in extensions:
        builder = builder.add_extension(one.value, critical=one.critical)
    return Signer(builder.sign(by.key if by else mine, SHA256()), mine)


def root(subject: str = "TestCo root") -> Signer:
    return _made(None, subject, (), True, None, FOREVER)

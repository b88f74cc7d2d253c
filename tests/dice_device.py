"""A DICE device: layers of firmware, each of which certifies the next; well made or badly."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from tokens import der, spki

from est_server.attestation.dice_x509 import CONTEXT
from est_server.attestation.reading import sha256
from est_server.wire import dice

if TYPE_CHECKING:
    from collections.abc import Sequence

MADE = datetime(2026, 1, 1, tzinfo=UTC)
FOREVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
SHA_256 = "2.16.840.1.101.3.4.2.1"
GOOD: dict[str, Any] = {
    "vendor": "TestCo",
    "model": "EdgeBox",
    "version": "1.4",
    "svn": 7,
    "flags": 0,
    "fwids": [bytes([1]) * 32],
}
UEID = b"\x01" + bytes(range(16))


def _bits(value: int) -> bytes:
    """Return the content of a BIT STRING of 32 bits, the first named bit in front."""
    bits = sum(1 << (31 - bit) for bit in range(32) if value >> bit & 1)
    return b"\0" + bits.to_bytes(4, "big")


def fwid(digest: bytes, algorithm: str = SHA_256) -> bytes:
    return der(0x30, core.ObjectIdentifier(algorithm).dump(), der(4, digest))


def tcb_info(**said: Any) -> bytes:
    """Return a DiceTcbInfo; `flags` and `mask` are numbers, bit 0 the first named one."""
    parts = [der(0x80 + at, said[name].encode()) for at, name in
             enumerate(("vendor", "model", "version")) if name in said]  # fmt: skip
    parts += [der(0x83 + at, core.Integer(said[name]).contents) for at, name in
              enumerate(("svn", "layer", "index")) if name in said]  # fmt: skip
    if "fwids" in said:
        parts.append(der(0xA6, *map(fwid, said["fwids"])))
    if "flags" in said:
        parts.append(der(0x87, _bits(said["flags"])))
    parts += [der(tag, said[name]) for tag, name in ((0x88, "vendor_info"), (0x89, "type"))
              if name in said]  # fmt: skip
    if "mask" in said:
        parts.append(der(0x8A, _bits(said["mask"])))
    return der(0x30, *parts)


def extension(oid: str, value: bytes, *, critical: bool = True) -> x509.Extension[Any]:
    number = x509.ObjectIdentifier(oid)
    return x509.Extension(number, critical, x509.UnrecognizedExtension(number, value))


def tcb(**said: Any) -> x509.Extension[Any]:
    """Return TcbInfo, critical as TCG has it; of good firmware where nothing else is said."""
    return extension(dice.TCB_INFO, tcb_info(**{**GOOD, **said}))


def fresh(nonce: bytes) -> x509.Extension[Any]:
    return extension(dice.TCB_FRESHNESS, der(0x30, der(4, nonce)), critical=False)


def named(ueid: bytes) -> x509.Extension[Any]:
    return extension(dice.UEID, der(0x30, der(4, ueid)), critical=False)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


@dataclass(frozen=True, slots=True)
class Signer:
    """Somebody with a key and a certificate."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

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


@dataclass(frozen=True, slots=True)
class Device:
    """What a device has after it started: who certified whom, the last layer behind."""

    layers: tuple[Signer, ...]

    @property
    def alias(self) -> Signer:
        return self.layers[-1]

    @property
    def certificates(self) -> list[bytes]:
        return [layer.der for layer in self.layers]

    def below(self, *extensions: x509.Extension[Any], **how: Any) -> Device:
        """Return the device with one more layer."""
        how = {"ca": False, **how}
        return Device((*self.layers, self.alias.issue("alias", *extensions, **how)))

    def statement(
        self, nonce: bytes = b"", request: bytes | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:  # fmt: skip
        """Return a statement; signed by the last layer, or `key`, for the SPKI `request`."""
        signature = b""
        if request is not None:
            signed = CONTEXT + nonce + sha256(request)
            signature = (key or self.alias.key).sign(signed, ec.ECDSA(SHA256()))
        return der(0x30, *(der(4, part) for part in (sha256(self.alias.der), nonce, signature)))


def device(maker: Signer, *extensions: x509.Extension[Any]) -> Device:
    """Return a device that did not start its last layer yet: DeviceID, and layer 0's firmware."""
    identity = maker.issue("TestCo device 7", named(UEID))
    return Device((identity, identity.issue("layer 0", *(extensions or (tcb(layer=0),)))))


def spki_of(found: Signer) -> bytes:
    return spki(found.key)

"""A DICE device: layers of firmware, each of which certifies the next; well made or badly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asn1crypto import core
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from signers import Signer, extension
from tokens import der

from est_server.attestation.dice_x509 import CONTEXT
from est_server.attestation.reading import sha256
from est_server.wire import dice

if TYPE_CHECKING:
    from cryptography import x509

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


def tcb(**said: Any) -> x509.Extension[Any]:
    """Return TcbInfo, critical as TCG has it; of good firmware where nothing else is said."""
    return extension(dice.TCB_INFO, tcb_info(**{**GOOD, **said}))


def fresh(nonce: bytes) -> x509.Extension[Any]:
    return extension(dice.TCB_FRESHNESS, der(0x30, der(4, nonce)), critical=False)


def named(ueid: bytes) -> x509.Extension[Any]:
    return extension(dice.UEID, der(0x30, der(4, ueid)), critical=False)


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

"""Keys of Android's KeyMint, and what it says about them; well made or badly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asn1crypto import core, parser
from signers import Signer, extension
from tokens import der

from est_server.attestation.reading import sha256
from est_server.wire.android_key import KEY_DESCRIPTION

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

BOOT_KEY = bytes(range(32))
SIGNER = bytes([7]) * 32


def number(value: int, tag: int = 2) -> bytes:
    return der(tag, core.Integer(value).contents)


def octets(value: bytes) -> bytes:
    return der(4, value)


def tagged(tag: int, content: bytes) -> bytes:
    found: bytes = parser.emit(2, 1, tag, content)
    return found


def root_of_trust(locked: bool = True, state: int = 0, key: bytes = BOOT_KEY) -> bytes:
    return der(0x30, octets(key), der(1, b"\xff" if locked else b"\0"), number(state, 0x0A),
               octets(bytes(32)))  # fmt: skip


def application(packages: tuple[str, ...] = ("net.example.enroll",),
                signers: tuple[bytes, ...] = (SIGNER,)) -> bytes:  # fmt: skip
    infos = [der(0x30, octets(name.encode()), number(1)) for name in packages]
    return octets(der(0x30, der(0x31, *infos), der(0x31, *map(octets, signers))))


HARDWARE: dict[int, bytes] = {
    1: der(0x31, number(2)),
    2: number(3),
    3: number(256),
    503: b"\x05\0",
    702: number(0),
    704: root_of_trust(),
    705: number(160000),
    706: number(202605),
    718: number(20260505),
    719: number(20260505),
}
"""What hardware enforces for a good key."""
SOFTWARE: dict[int, bytes] = {701: number(1_700_000_000_000), 709: application()}


def listed(tags: dict[int, bytes | None]) -> bytes:
    return der(0x30, *(tagged(tag, value) for tag, value in sorted(tags.items()) if value))


def description(
    challenge: bytes, version: int = 400, level: int = 1, keymint: int | None = None,
    software: dict[int, bytes | None] | None = None, **hardware: bytes | None,
) -> bytes:  # fmt: skip
    """Return a KeyDescription; `hardware` has tags as ``t706``, None for what is left out."""
    changed = {int(name[1:]): value for name, value in hardware.items()}
    return der(
        0x30, number(version), number(level, 0x0A), number(version),
        number(level if keymint is None else keymint, 0x0A), octets(challenge), octets(b""),
        listed({**SOFTWARE, **(software or {})}), listed({**HARDWARE, **changed}),
    )  # fmt: skip


def described(value: bytes) -> x509.Extension[Any]:
    return extension(KEY_DESCRIPTION, value, critical=False)


def attested(
    tee: Signer, challenge: bytes, key: ec.EllipticCurvePrivateKey | None = None,
    ca: bool | None = None, **said: Any,
) -> Signer:  # fmt: skip
    """Return a key that KeyMint made, and its certificate."""
    value = described(description(challenge, **said))
    return tee.issue("Android Keystore Key", value, ca=ca, key=key)


def statement(leaf: Signer) -> bytes:
    return octets(sha256(leaf.der))

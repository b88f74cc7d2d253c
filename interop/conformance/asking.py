"""PKCS #10 requests (RFC 2986), right ones and wrong ones.

The encoder is this module's own, since libraries refuse to write what a server must refuse to read.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_STRINGS = {"utf8": 0x0C, "printable": 0x13, "teletex": 0x14, "ia5": 0x16}
_SIGNATURES = {
    ("ec", "sha256"): "1.2.840.10045.4.3.2",
    ("ec", "sha1"): "1.2.840.10045.4.1",
    ("rsa", "sha256"): "1.2.840.113549.1.1.11",
    ("rsa", "sha1"): "1.2.840.113549.1.1.5",
}
_HASHES: dict[str, hashes.HashAlgorithm] = {"sha256": hashes.SHA256(), "sha1": hashes.SHA1()}


def new_key(kind: str = "ec") -> Any:
    """Return a new private key: ``ec`` is P-256, ``rsa`` has 2048 bits, or ``rsa-1024``."""
    if kind == "ec":
        return ec.generate_private_key(ec.SECP256R1())
    bits = int(kind.partition("-")[2] or 2048)
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def der(tag: int, *parts: bytes) -> bytes:
    """Return one DER element."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes((tag, length)) + content
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(octets))) + octets + content


def oid(dotted: str) -> bytes:
    """Return a DER OBJECT IDENTIFIER."""
    return der(6, _oid_content(dotted))


def _oid_content(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (first * 40 + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(arc & 0x7F | 0x80)
        content += bytes(reversed(octets))
    return content


def attribute(kind: str, *values: bytes) -> bytes:
    """Return a PKCS #10 attribute with these DER values."""
    return der(0x30, oid(kind), der(0x31, *values))


def challenge(text: str | bytes, string: str = "printable") -> bytes:
    """Return a challengePassword attribute (RFC 2985 5.4.1)."""
    octets = text if isinstance(text, bytes) else text.encode()
    return attribute(CHALLENGE_PASSWORD, der(_STRINGS[string], octets))


def extension(kind: x509.ExtensionType, *, critical: bool = False) -> bytes:
    """Return a DER Extension."""
    flag = der(1, b"\xff") if critical else b""
    return der(0x30, oid(kind.oid.dotted_string), flag, der(4, kind.public_bytes()))


def extension_request(*extensions: bytes) -> bytes:
    """Return an extensionRequest attribute (RFC 2985 5.4.2)."""
    return attribute(EXTENSION_REQUEST, der(0x30, *extensions))


def alternative_names(*names: x509.GeneralName) -> bytes:
    """Return an extensionRequest for a subjectAltName."""
    return extension_request(extension(x509.SubjectAlternativeName(names)))


def common_name(text: str) -> x509.Name:
    """Return a subject with one attribute."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def certification_request(
    key: Any,
    subject: x509.Name,
    attributes: Sequence[bytes] = (),
    *,
    signer: Any = None,
    algorithm: str = "sha256",
) -> bytes:
    """Return the DER of a request.

    Args:
        key: whose public half is asked for.
        subject: of the request.
        attributes: DER attributes.
        signer: signs; another key than `key` makes a bad signature.
        algorithm: the hash of the signature.
    """
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    info = der(0x30, der(2, b"\x00"), subject.public_bytes(), spki, der(0xA0, *sorted(attributes)))
    signer = signer or key
    digest = _HASHES[algorithm]
    if isinstance(signer, rsa.RSAPrivateKey):
        identifier = der(0x30, oid(_SIGNATURES["rsa", algorithm]), der(5))
        signature = signer.sign(info, padding.PKCS1v15(), digest)
    else:
        identifier = der(0x30, oid(_SIGNATURES["ec", algorithm]))
        signature = signer.sign(info, ec.ECDSA(digest))
    return der(0x30, info, identifier, der(3, b"\x00" + signature))


def base64(octets: bytes, width: int | None = 64, end: bytes = b"\n") -> bytes:
    """Return base64 in lines.

    Args:
        octets: what to encode.
        width: characters in a line; None for one line.
        end: of each line; the last has one too, unless it is the only one.
    """
    text = b64encode(octets)
    if width is None:
        return text
    return b"".join(piece + end for piece in _cut(text, width))


def _cut(text: bytes, width: int) -> Iterable[bytes]:
    return (text[start : start + width] for start in range(0, len(text), width))


def self_signed_certificate(key: Any, subject: x509.Name) -> x509.Certificate:
    """Return a device's certificate that nobody else signed."""
    now = datetime.now(UTC)  # noqa: TID251 - a client without decisions to replay
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )

"""What the client sends and keeps: a key, a CSR in the shape that the server asks for, files."""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer
from asn1crypto import core
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtensionOID

from est_server.errors import Conflict, Malformed
from est_server.pki.authority import signature_hash
from est_server.wire.csrattrs import AttributeValues, Oid, parse_csrattrs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

_EC = "1.2.840.10045.2.1"
_RSA = "1.2.840.113549.1.1.1"
_EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
_CHALLENGE_PASSWORD = "1.2.840.113549.1.9.7"  # noqa: S105 - an object identifier
_CURVES = {
    "1.2.840.10045.3.1.7": "EC-P256",
    "1.3.132.0.34": "EC-P384",
    "1.3.132.0.35": "EC-P521",
}
_KEYS = {
    "1.3.101.112": "Ed25519",
    "1.3.101.113": "Ed448",
    "2.16.840.1.101.3.4.3.17": "ML-DSA-44",
    "2.16.840.1.101.3.4.3.18": "ML-DSA-65",
    "2.16.840.1.101.3.4.3.19": "ML-DSA-87",
}
_SUBJECT_ALTERNATIVE_NAME = ExtensionOID.SUBJECT_ALTERNATIVE_NAME


class _Extension(core.Sequence):  # type: ignore[misc]  # asn1crypto has no types
    _fields = [  # noqa: RUF012 - its API
        ("extn_id", core.ObjectIdentifier),
        ("critical", core.Boolean, {"default": False}),
        ("extn_value", core.OctetString),
    ]


class _Extensions(core.SequenceOf):  # type: ignore[misc]
    _child_spec = _Extension


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a server wants to see in a CSR (RFC 7030 4.5.2).

    Attributes:
        key: name of the key's algorithm; None if any will do.
        extensions: with their values.
        channel_binding: whether the CSR must carry the TLS connection's.
    """

    key: str | None = None
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()
    channel_binding: bool = False


def wishes(der: bytes | None) -> Wishes:
    """Read the answer of /csrattrs; what it says beyond a key and extensions is left alone.

    Raises:
        Malformed: it is no CsrAttrs.
    """
    key: str | None = None
    extensions: tuple[x509.Extension[x509.ExtensionType], ...] = ()
    binding = False
    for item in () if der is None else parse_csrattrs(der):
        values = item.values if isinstance(item, AttributeValues) else ()
        binding = binding or (isinstance(item, Oid) and item.oid == _CHALLENGE_PASSWORD)
        if item.oid == _EXTENSION_REQUEST and values:
            extensions = _extensions(values[0])
        key = key or _key(item.oid, values)
    return Wishes(key, extensions, binding)


def _key(oid: str, values: Sequence[bytes]) -> str | None:
    try:
        if oid == _EC and values:
            return _CURVES.get(core.ObjectIdentifier.load(values[0], strict=True).native)
        if oid == _RSA and values:
            return f"RSA-{core.Integer.load(values[0], strict=True).native}"
    except (ValueError, TypeError) as error:
        raise Malformed("csrattrs.key", "the server's wish for a key can't be read") from error
    return _KEYS.get(oid)


def _extensions(der: bytes) -> tuple[x509.Extension[x509.ExtensionType], ...]:
    """Return extensions as the CSR repeats them: unread, since they are the server's own."""
    try:
        return tuple(
            x509.Extension(
                oid := x509.ObjectIdentifier(found["extn_id"].dotted),
                bool(found["critical"].native),
                x509.UnrecognizedExtension(oid, found["extn_value"].native),
            )
            for found in _Extensions.load(der, strict=True)
        )
    except (ValueError, TypeError) as error:
        raise Malformed("csrattrs.extensions", "the wished extensions can't be read") from error


def alternative_names(texts: Sequence[str]) -> list[x509.GeneralName]:
    """Return what ``dns:…``, ``ip:…``, ``email:…`` and ``uri:…`` name.

    Raises:
        BadParameter: another kind, or no such name.
    """
    kinds: dict[str, Any] = {
        "dns": x509.DNSName,
        "ip": lambda value: x509.IPAddress(ipaddress.ip_address(value)),
        "email": x509.RFC822Name,
        "uri": x509.UniformResourceIdentifier,
    }
    found = []
    for text in texts:
        kind, _, value = text.partition(":")
        try:
            found.append(kinds[kind.lower()](value))
        except (KeyError, ValueError) as error:
            hint = f"{text!r}: write dns:a.example, ip:192.0.2.1, email:… or uri:…"
            raise typer.BadParameter(hint, param_hint="--san") from error
    return found


def make_csr(
    key: CertificateIssuerPrivateKeyTypes,
    subject: x509.Name,
    names: Sequence[x509.GeneralName],
    extensions: Sequence[x509.Extension[x509.ExtensionType]] = (),
) -> bytes:
    """Return the DER of a PKCS #10 request; `names` stand in place of any that are wished."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    for extension in extensions:
        if extension.oid != _SUBJECT_ALTERNATIVE_NAME:
            builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, signature_hash(key)).public_bytes(Encoding.DER)


def load_key(path: Path) -> CertificateIssuerPrivateKeyTypes:
    """Return a PEM key that is not encrypted.

    Raises:
        Malformed: ``client.key``.
    """
    try:
        return load_pem_private_key(path.read_bytes(), None)  # type: ignore[return-value]  # one that can't sign fails when it signs
    except (ValueError, TypeError) as error:
        raise Malformed("client.key", f"{path} is no PEM key without a passphrase") from error


def refuse_existing(*paths: Path) -> None:
    """Refuse to overwrite a file.

    Raises:
        Conflict: ``client.exists``.
    """
    for path in paths:
        if path.exists():
            hint = "give another --out; a key that waits for its certificate is used with --key"
            raise Conflict("client.exists", f"{path} exists", hint=hint)


def write_key(path: Path, key: CertificateIssuerPrivateKeyTypes) -> None:
    """Write a key that only its owner can read."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(pem)


def own_certificate(
    found: Sequence[bytes], key: CertificateIssuerPrivateKeyTypes
) -> x509.Certificate:
    """Return the certificate of `key` among those that the server sent.

    Raises:
        Malformed: ``remote.certificate``: it is not there.
    """
    wanted = key.public_key()
    for der in found:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.public_key() == wanted:
            return certificate
    raise Malformed("remote.certificate", "the answer has no certificate for this key")

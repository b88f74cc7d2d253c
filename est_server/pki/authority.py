"""A hierarchy of one's own: root, issuing CA and TLS certificate, as `init` makes them."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from est_server.pki.keys import generate_key
from est_server.pki.usages import key_usage_extension

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        CertificatePublicKeyTypes,
    )

CLOCK_SKEW = timedelta(minutes=5)
"""By how much what is made here is dated back."""

KeyOrAlgorithm: TypeAlias = "CertificateIssuerPrivateKeyTypes | str"
"""A key that is there already, in a token perhaps; or the algorithm of a new one."""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA's key and certificate."""

    key: CertificateIssuerPrivateKeyTypes
    certificate: x509.Certificate


def make_root(
    common_name: str, key: KeyOrAlgorithm, *, lifetime: timedelta, now: datetime
) -> Authority:
    """Return a self-signed root (RFC 5280 4.2.1.9: CA, no path length)."""
    key = _key(key)
    name = _name(common_name)
    builder = _builder(name, name, key.public_key(), lifetime, now)
    builder = _ca_extensions(builder, path_length=None)
    return Authority(key, builder.sign(key, signature_hash(key)))


def make_next_root(
    old: x509.Certificate, key: KeyOrAlgorithm, *, lifetime: timedelta, now: datetime
) -> Authority:
    """Return a new self-signed root of the same name as `old` (RFC 4210 4.4: NewWithNew)."""
    key = _key(key)
    builder = _builder(old.subject, old.subject, key.public_key(), lifetime, now)
    builder = _ca_extensions(builder, path_length=None)
    return Authority(key, builder.sign(key, signature_hash(key)))


def cross_certify(
    subject: x509.Certificate, issuer: Authority, *, not_before: datetime, not_after: datetime
) -> x509.Certificate:
    """Return a certificate of one root's key by another's (RFC 4210 4.4).

    OldWithNew certifies the old key with the new one, NewWithOld the new key with the old one.

    Args:
        subject: the root that is certified.
        issuer: the root that certifies.
        not_before: first second of validity.
        not_after: last second of validity.
    """
    key = subject.public_key()
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(authority_key_identifier(issuer.certificate), critical=False)
    )
    builder = _ca_extensions(builder, path_length=None)
    return builder.sign(issuer.key, signature_hash(issuer.key))


def make_issuing(
    root: Authority,
    name: str | x509.Name,
    key: KeyOrAlgorithm,
    *,
    lifetime: timedelta,
    now: datetime,
) -> Authority:
    """Return an issuing CA under `root` that may sign end entities only (path length 0).

    Args:
        root: who certifies it.
        name: its subject, or the common name that is all of it.
        key: its key, or the algorithm of a new one.
        lifetime: cut at the root's end.
        now: the time.
    """
    key = _key(key)
    certificate = root.certificate
    end = certificate.not_valid_after_utc
    lifetime = min(lifetime, end - (now - CLOCK_SKEW))
    subject = _name(name) if isinstance(name, str) else name
    builder = _builder(subject, certificate.subject, key.public_key(), lifetime, now)
    builder = _ca_extensions(builder, path_length=0).add_extension(
        authority_key_identifier(certificate), critical=False
    )
    return Authority(key, builder.sign(root.key, signature_hash(root.key)))


def make_server_certificate(
    issuer: Authority,
    names: Sequence[str],
    public_key: CertificatePublicKeyTypes,
    *,
    lifetime: timedelta,
    now: datetime,
) -> x509.Certificate:
    """Return a TLS server certificate.

    Args:
        issuer: who signs.
        names: DNS names and IP addresses, at least one.
        public_key: the server's.
        lifetime: cut at the issuer's end.
        now: the time.
    """
    certificate = issuer.certificate
    lifetime = min(lifetime, certificate.not_valid_after_utc - (now - CLOCK_SKEW))
    builder = (
        _builder(_name(names[0]), certificate.subject, public_key, lifetime, now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage_extension(("digitalSignature",)), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_host(name) for name in names]), critical=False)
        .add_extension(authority_key_identifier(certificate), critical=False)
    )
    return builder.sign(issuer.key, signature_hash(issuer.key))


def ca_rights(path_length: int | None) -> tuple[tuple[x509.ExtensionType, bool], ...]:
    """Return the extensions that make a certificate a CA's, and whether each is critical."""
    usage = key_usage_extension(("digitalSignature", "keyCertSign", "cRLSign"))
    return (x509.BasicConstraints(ca=True, path_length=path_length), True), (usage, True)


def signature_hash(
    key: CertificateIssuerPrivateKeyTypes,
) -> hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None:
    """Return the hash that fits a CA key's strength; None where the algorithm brings its own."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        if key.key_size > 384:
            return hashes.SHA512()
        return hashes.SHA384() if key.key_size > 256 else hashes.SHA256()
    return hashes.SHA256() if isinstance(key, rsa.RSAPrivateKey) else None


@lru_cache(maxsize=64)
def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the AKI that names `issuer` by its own SKI, or by its key where it has none."""
    try:
        found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except x509.ExtensionNotFound:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.public_key())  # type: ignore[arg-type]  # a CA key signs
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found)


def encrypt_key(key: CertificateIssuerPrivateKeyTypes, passphrase: bytes) -> bytes:
    """Return encrypted PKCS #8 in PEM."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))


def plain_key(key: CertificateIssuerPrivateKeyTypes) -> bytes:
    """Return PKCS #8 in PEM, not encrypted: for the TLS key, which a restart must read."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def fingerprint(certificate: x509.Certificate) -> str:
    """Return ``SHA256 70:2A:…``, the form that people compare."""
    return f"SHA256 {certificate.fingerprint(hashes.SHA256()).hex(':').upper()}"


def _key(wanted: KeyOrAlgorithm) -> CertificateIssuerPrivateKeyTypes:
    return generate_key(wanted) if isinstance(wanted, str) else wanted


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    lifetime: timedelta,
    now: datetime,
) -> x509.CertificateBuilder:
    begin = (now - CLOCK_SKEW).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after((begin + lifetime).replace(microsecond=0))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _ca_extensions(
    builder: x509.CertificateBuilder, path_length: int | None
) -> x509.CertificateBuilder:
    for extension, critical in ca_rights(path_length):
        builder = builder.add_extension(extension, critical=critical)
    return builder

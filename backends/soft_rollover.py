"""The hierarchy that follows a soft CA's: new keys in encrypted files beside the old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.authority import (
    Authority,
    cross_certify,
    encrypt_key,
    make_issuing,
    make_next_root,
)
from est_server.ports.rollover import Successor

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import SuccessorOrder
    from est_server.ports.secret import Secret

_LONGEST_NAME = 64  # RFC 5280 A.1, ub-common-name


def make_successor(
    certificates: CaCertificates,
    base: Path,
    root_key: Secret,
    passphrase: Secret,
    order: SuccessorOrder,
) -> Successor:
    """Make the hierarchy and write its files.

    Args:
        certificates: of the CA that is followed.
        base: the folder of server.yaml.
        root_key: the old root's key.
        passphrase: of the new keys, and of the old root's where the order names no other.
        order: what is wanted.

    Raises:
        BackendUnavailable: the old root's key, or a passphrase, can't be read.
        BackendRejected: ``rollover.hierarchy``, ``rollover.lifetime``.
    """
    if not certificates.chain:
        raise BackendRejected(
            "rollover.hierarchy",
            "this CA is its own root: there is no root above it that could change",
        )
    now = order.now.replace(microsecond=0)
    secret = _read(passphrase, base)
    old = _old_root(certificates.chain[-1], root_key, order.root_passphrase or passphrase, base)
    new = make_next_root(old.certificate, order.algorithm, lifetime=order.root_lifetime, now=now)
    end = old.certificate.not_valid_after_utc
    if new.certificate.not_valid_after_utc <= end:
        # RFC 7030 4.1.3: clients take the self-signed certificate that ends last for the newest
        raise BackendRejected(
            "rollover.lifetime", f"the new root must end after the old one, which ends {end:%F}"
        )
    name = _issuing_name(certificates.issuer.subject, order.issuing_suffix)
    issuing = make_issuing(new, name, order.algorithm, lifetime=order.issuing_lifetime, now=now)
    begin = max(new.certificate.not_valid_before_utc, old.certificate.not_valid_before_utc)
    old_with_new = cross_certify(
        old.certificate, new, not_before=old.certificate.not_valid_before_utc, not_after=end
    )
    new_with_old = cross_certify(new.certificate, old, not_before=begin, not_after=end)
    for file, authority in (("root", new), ("issuing", issuing)):
        _write(order.folder / f"{file}.key", encrypt_key(authority.key, secret), 0o600)
        _write(order.folder / f"{file}.pem", authority.certificate.public_bytes(Encoding.PEM))
    for file, certificate in (("old-with-new", old_with_new), ("new-with-old", new_with_old)):
        _write(order.folder / f"{file}.pem", certificate.public_bytes(Encoding.PEM))
    settings: dict[str, Any] = {
        "certificate": f"{order.settled}/issuing.pem",
        "key": f"file:{order.settled}/issuing.key",
        "passphrase": passphrase.reference,
        "chain": [f"{order.settled}/root.pem"],
    }
    return Successor(settings, new.certificate, old_with_new, new_with_old)


def _old_root(
    certificate: x509.Certificate, key: Secret, passphrase: Secret, base: Path
) -> Authority:
    try:
        private: Any = load_pem_private_key(_read(key, base), _read(passphrase, base))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _unusable(f"{key.reference} is no encrypted PKCS #8 key under its passphrase") from (
            error
        )
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        raise _unusable(f"{key.reference} is not the key of the root that is in use")
    return Authority(private, certificate)


def _issuing_name(old: x509.Name, suffix: str) -> x509.Name:
    """Return the old name with a suffix to its common name, in the place of an earlier one."""
    rdns = []
    for rdn in old.rdns:
        attributes = [
            x509.NameAttribute(one.oid, _with_suffix(str(one.value), suffix))
            if one.oid == NameOID.COMMON_NAME
            else one
            for one in rdn
        ]
        rdns.append(x509.RelativeDistinguishedName(attributes))
    if not old.get_attributes_for_oid(NameOID.COMMON_NAME):
        common_name = x509.NameAttribute(NameOID.COMMON_NAME, suffix.strip())
        rdns.append(x509.RelativeDistinguishedName([common_name]))
    return x509.Name(rdns)


def _with_suffix(text: str, suffix: str) -> str:
    mark = suffix.rstrip("0123456789")
    stem, found, number = text.rpartition(mark)
    stem = stem if found and number.isdigit() else text
    return stem[: _LONGEST_NAME - len(suffix)] + suffix


def _read(secret: Secret, base: Path) -> bytes:
    try:
        return secret.read(base)
    except OSError as error:
        raise _unusable(f"{secret.reference} can't be read: {error.strerror}") from error


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)


def _unusable(message: str) -> BackendUnavailable:
    return BackendUnavailable(
        "rollover.root-key",
        message,
        hint="name it: --root-key file:PATH --root-passphrase env:NAME",
    )

"""The hierarchy that follows a CA's own, wherever its keys are (RFC 4210 4.4)."""

from __future__ import annotations

from dataclasses import dataclass
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
    CLOCK_SKEW,
    Authority,
    cross_certify,
    encrypt_key,
    make_issuing,
    make_next_root,
)
from est_server.ports.rollover import Successor
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from est_server.pki.authority import KeyOrAlgorithm
    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import SuccessorOrder

_LONGEST_NAME = 64  # RFC 5280 A.1, ub-common-name


@dataclass(frozen=True, slots=True)
class Hierarchy:
    """What was made."""

    root: Authority
    issuing: Authority
    old_with_new: x509.Certificate
    new_with_old: x509.Certificate

    def write(self, folder: Path) -> None:
        """Write the certificates."""
        for name, certificate in (
            ("root", self.root.certificate),
            ("issuing", self.issuing.certificate),
            ("old-with-new", self.old_with_new),
            ("new-with-old", self.new_with_old),
        ):
            _write(folder / f"{name}.pem", certificate.public_bytes(Encoding.PEM))

    def successor(self, settings: Mapping[str, Any]) -> Successor:
        """Return it as the port has it."""
        return Successor(settings, self.root.certificate, self.old_with_new, self.new_with_old)


def check_order(certificates: CaCertificates, order: SuccessorOrder) -> None:
    """Return if a hierarchy can follow this one, before any key is made.

    Raises:
        BackendRejected: ``rollover.hierarchy``, ``rollover.lifetime``.
    """
    if not certificates.chain:
        raise BackendRejected(
            "rollover.hierarchy",
            "this CA is its own root: there is no root above it that could change",
        )
    end = certificates.chain[-1].not_valid_after_utc
    if order.now.replace(microsecond=0) - CLOCK_SKEW + order.root_lifetime <= end:
        # RFC 7030 4.1.3: clients take the self-signed certificate that ends last for the newest
        raise BackendRejected(
            "rollover.lifetime", f"the new root must end after the old one, which ends {end:%F}"
        )


def make_hierarchy(
    certificates: CaCertificates,
    old: Authority,
    order: SuccessorOrder,
    *,
    root: KeyOrAlgorithm,
    issuing: KeyOrAlgorithm,
) -> Hierarchy:
    """Make every certificate between old and new; see `check_order`.

    Args:
        certificates: of the CA that is followed.
        old: its root.
        order: what is wanted.
        root: the new root's key, or its algorithm.
        issuing: the new issuing CA's.
    """
    now = order.now.replace(microsecond=0)
    new = make_next_root(old.certificate, root, lifetime=order.root_lifetime, now=now)
    name = _issuing_name(certificates.issuer.subject, order.issuing_suffix)
    made = make_issuing(new, name, issuing, lifetime=order.issuing_lifetime, now=now)
    old_begin, old_end = old.certificate.not_valid_before_utc, old.certificate.not_valid_after_utc
    begin = max(new.certificate.not_valid_before_utc, old_begin)
    return Hierarchy(
        new,
        made,
        cross_certify(old.certificate, new, not_before=old_begin, not_after=old_end),
        cross_certify(new.certificate, old, not_before=begin, not_after=old_end),
    )


def root_in_file(
    certificate: x509.Certificate, key: Secret, passphrase: Secret, base: Path
) -> Authority:
    """Return the old root, whose key is in an encrypted file.

    Raises:
        BackendUnavailable: ``rollover.root-key``.
    """
    try:
        private: Any = load_pem_private_key(read_secret(key, base), read_secret(passphrase, base))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise no_root_key(
            f"{key.reference} is no encrypted PKCS #8 key under its passphrase"
        ) from error
    return root_of(certificate, private, key.reference)


def root_of(certificate: x509.Certificate, private: Any, where: str) -> Authority:
    """Return the old root.

    Raises:
        BackendUnavailable: ``rollover.root-key``: the key is another's.
    """
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if private.public_key().public_bytes(*spki) != certificate.public_key().public_bytes(*spki):
        raise no_root_key(f"{where} is not the key of the root that is in use")
    return Authority(private, certificate)


def root_key_reference(text: str) -> Secret:
    """Read `SuccessorOrder.root_key` where the key is in a file.

    Raises:
        BackendUnavailable: ``rollover.root-key``.
    """
    try:
        return Secret.parse(text)
    except ValueError as error:
        raise no_root_key(f"the root's key: {error}") from error


def write_key(folder: Path, name: str, authority: Authority, passphrase: bytes) -> None:
    """Write an encrypted key for its owner alone."""
    _write(folder / f"{name}.key", encrypt_key(authority.key, passphrase), 0o600)


def read_secret(secret: Secret, base: Path) -> bytes:
    """Return a secret.

    Raises:
        BackendUnavailable: ``rollover.root-key``.
    """
    try:
        return secret.read(base)
    except OSError as error:
        raise no_root_key(f"{secret.reference} can't be read: {error.strerror}") from error


def no_root_key(message: str) -> BackendUnavailable:
    """Return the failure of an old root's key that can't be used."""
    return BackendUnavailable(
        "rollover.root-key",
        message,
        hint="name it: --root-key file:PATH (or pkcs11:…) --root-passphrase env:NAME",
    )


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


def _write(path: Path, content: bytes, mode: int = 0o644) -> None:
    path.touch(mode=mode, exist_ok=False)
    path.write_bytes(content)

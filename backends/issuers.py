"""The certificates of a CA elsewhere: who issues, found in a heap of them, and a file for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from backends.remote import unusable
from est_server.pki.certificates import UNREADABLE
from est_server.pki.chain import chain_above, is_issued_by, is_self_signed
from est_server.ports.ca import CaCertificates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def issuing(found: Sequence[x509.Certificate]) -> CaCertificates | None:
    """Return who issues: the newest CA certificate of the heap that certifies no other CA.

    Links between an old root and a new one (RFC 4210 4.4) are self-issued and never issue.
    """
    cas = [one for one in found if is_ca(one)]
    real = [one for one in cas if one.subject != one.issuer or is_self_signed(one)]
    lowest = [
        one for one in real if not any(is_issued_by(other, one) for other in real if other != one)
    ]
    if not lowest:
        return None
    issuer = max(lowest, key=lambda one: one.not_valid_before_utc)
    chain = chain_above(issuer, cas)
    return CaCertificates(issuer, chain, tuple(one for one in cas if one not in {issuer, *chain}))


def is_ca(certificate: x509.Certificate) -> bool:
    """Tell whether it is a CA certificate (RFC 5280 4.2.1.9)."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, *UNREADABLE):
        return False
    return basic.value.ca


def keep(name: str, path: Path, certificates: Sequence[x509.Certificate]) -> None:
    """Write a PEM file whole, or leave the old one.

    Raises:
        BackendUnavailable: ``ca.unusable``.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in certificates))
        partial.replace(path)
    except OSError as error:
        raise unusable(name, f"{path.name} can't be written", str(error)) from error

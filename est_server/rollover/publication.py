"""What a CA publishes and who issues for it, from its rollovers (RFC 7030 4.1.3, RFC 4210 4.4)."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.rollover.lifecycle import ISSUES, VISIBLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import Rollover


def issuing_name(ca: str, rollovers: Sequence[Rollover]) -> str:
    """Return the name of the CA that issues where profiles say `ca`.

    Args:
        ca: a name in server.yaml.
        rollovers: all there are, by generation.
    """
    name = ca
    for rollover in rollovers:
        if rollover.ca == ca and rollover.state in ISSUES:
            name = rollover.successor
    return name


def summary(rollovers: Sequence[Rollover]) -> str:
    """Return how far each rollover has come: ``issuing-g2:published``."""
    return " ".join(f"{rollover.successor}:{rollover.state}" for rollover in rollovers)


def published(
    ca: str, rollovers: Sequence[Rollover], certificates: Mapping[str, CaCertificates]
) -> tuple[x509.Certificate, ...]:
    """Return what /cacerts has for a CA, each certificate once.

    While a rollover is published: both roots, each certified by the other, and both issuing CAs.
    After it: the new root and issuing CA; the old issuing CA stays, under OldWithNew, since what it
    issued is still valid.

    Args:
        ca: a name in server.yaml.
        rollovers: all there are, by generation.
        certificates: of every CA, by name, successors included.
    """
    found = list(_chain(certificates[ca]))
    for rollover in rollovers:
        if rollover.ca != ca or rollover.state not in VISIBLE:
            continue
        old_with_new = x509.load_der_x509_certificate(rollover.old_with_new)
        new_with_old = x509.load_der_x509_certificate(rollover.new_with_old)
        new = _chain(certificates[rollover.successor])
        if rollover.state == "retired":
            # anything that is of no use under the new root goes, cross certificates of before too
            old = [certificates[rollover.predecessor].issuer]
            found = [*new, *old, old_with_new]
        else:
            found = [*found, *new, old_with_new, new_with_old]
    return tuple(dict.fromkeys(found))


def presented(
    configured: Sequence[x509.Certificate],
    rollovers: Sequence[Rollover],
    certificates: Mapping[str, CaCertificates],
) -> tuple[x509.Certificate, ...]:
    """Return the TLS chain that devices of the old root and of the new one both validate.

    Args:
        configured: the chain of the listener's file, the server's own certificate first.
        rollovers: all there are, by generation.
        certificates: as in `published`.
    """
    digest = sha256(configured[0].public_bytes(Encoding.DER)).digest()
    chain = tuple(configured)
    rollovers = [one for one in rollovers if one.successor in certificates]
    for rollover in rollovers:
        tls = rollover.tls
        if rollover.state in ISSUES and tls is not None and tls.replaces == digest:
            chain = tuple(map(x509.load_der_x509_certificate, tls.chain))
    for rollover in rollovers:
        if rollover.state not in {"published", "switched"}:
            continue
        # the way up that the chain itself does not have
        if _issued(chain[0], certificates[rollover.successor].issuer):
            return (*chain, x509.load_der_x509_certificate(rollover.new_with_old))
        if _issued(chain[0], certificates[rollover.predecessor].issuer):
            return (*chain, x509.load_der_x509_certificate(rollover.old_with_new))
    return chain


def is_ours(leaf: x509.Certificate, rollover: Rollover, certificates: Mapping[str, CaCertificates]
            ) -> bool:  # fmt: skip
    """Tell whether the CA that is rolled over issued the server's TLS certificate."""
    return _issued(leaf, certificates[rollover.predecessor].issuer)


def _chain(certificates: CaCertificates) -> tuple[x509.Certificate, ...]:
    return certificates.issuer, *certificates.chain


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

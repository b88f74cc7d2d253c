"""From an issuing CA's certificate up to its root, out of a heap of certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography import x509

LONGEST = 10
"""Certificates above an issuer; more than anybody has."""


def chain_above(
    issuer: x509.Certificate, heap: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return the certificates above `issuer` as far as `heap` has them, the root last.

    Each one's signature is verified with the next one's key; validity and rights are not looked at
    (a path is validated by who relies on it). Where a name has two certificates, the one that
    verifies and lives longest is taken; one that another root cross-certified is left out.

    Args:
        issuer: where it begins; not part of the answer.
        heap: in any order, with strangers among them.
    """
    rest, last = list(heap), issuer
    above: list[x509.Certificate] = []
    while not is_self_signed(last) and len(above) < LONGEST:
        parents = [one for one in rest if one != last and is_issued_by(last, one)]
        if not parents:
            break
        last = max(parents, key=lambda one: (is_self_signed(one), one.not_valid_after_utc))
        rest.remove(last)
        above.append(last)
    return tuple(above)


def is_self_signed(certificate: x509.Certificate) -> bool:
    """Return whether its own key signed it."""
    return is_issued_by(certificate, certificate)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether `issuer` has the name and the key that `certificate` was signed with."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

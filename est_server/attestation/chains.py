"""Whether a certificate of the Evidence leads to a root that the rule trusts (RFC 5280 6).

`cryptography.x509.verification` builds and validates the path. It is made for the web, so what it
asks of a web server's certificate is left out; what an endorsement or attestation certificate must
have is asked by who calls. Issuers must be CAs by basicConstraints.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from est_server.attestation.reading import sha256
from est_server.ports.verifier import EvidenceRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from est_server.pki.path import TrustStore

LONGEST = 6
"""Certificates between leaf and root, at most."""
KEPT = 64
"""Chains, and what is read of certificates."""


@dataclass(frozen=True, slots=True)
class _Built:
    """A chain that was verified, the stores that it leads to, and when that holds."""

    chain: tuple[x509.Certificate, ...]
    stores: tuple[TrustStore, ...]
    begin: datetime
    end: datetime


_built: OrderedDict[tuple[x509.Certificate, ...], _Built] = OrderedDict()


def verify_chain(
    leaf: x509.Certificate,
    pool: Iterable[x509.Certificate],
    trust: Mapping[str, TrustStore],
    at: datetime,
    code: str,
) -> tuple[x509.Certificate, ...]:
    """Return the path from `leaf` to an anchor of `trust`, both included.

    Args:
        leaf: any end entity certificate.
        pool: certificates that may complete the path, unbelieved.
        trust: the rule's trust stores.
        at: the time to judge for.
        code: first part of the codes raised.

    Raises:
        EvidenceRefused: ``<code>.self-signed``, ``<code>.is-ca``, ``<code>.expired``,
            ``<code>.not-yet-valid``, ``<code>.unknown-issuer``.
    """
    named = " ".join(trust) or "no trust store"
    if leaf.issuer == leaf.subject and _signed_by_itself(leaf):
        raise EvidenceRefused(f"{code}.self-signed", named, leaf.subject.rfc4514_string())
    if is_ca(leaf):
        raise EvidenceRefused(f"{code}.is-ca", "an end entity", leaf.subject.rfc4514_string())
    if at > leaf.not_valid_after_utc:
        raise EvidenceRefused(f"{code}.expired", str(at), str(leaf.not_valid_after_utc))
    if at < leaf.not_valid_before_utc:
        raise EvidenceRefused(f"{code}.not-yet-valid", str(at), str(leaf.not_valid_before_utc))
    stores, key = tuple(trust.values()), (leaf, *pool)
    kept = _built.get(key)
    if (
        kept is not None
        and len(kept.stores) == len(stores)
        and all(mine is its for mine, its in zip(stores, kept.stores, strict=True))
        and kept.begin <= at <= kept.end
    ):
        return kept.chain
    try:
        chain = _path(leaf, key[1:], stores, at)
    except (VerificationError, ValueError, UnsupportedAlgorithm) as error:
        raise EvidenceRefused(f"{code}.unknown-issuer", named, str(error)) from error
    _built[key] = _Built(
        chain,
        stores,
        max(one.not_valid_before_utc for one in chain),
        min(one.not_valid_after_utc for one in chain),
    )
    if len(_built) > KEPT:
        _built.popitem(last=False)
    return chain


def _path(
    leaf: x509.Certificate,
    pool: tuple[x509.Certificate, ...],
    stores: tuple[TrustStore, ...],
    at: datetime,
) -> tuple[x509.Certificate, ...]:
    anchors = [anchor for store in stores for anchor in store.anchors]
    known = [extra for store in stores for extra in store.intermediates]
    if not anchors:
        raise ValueError("nothing is trusted")
    issuers = ExtensionPolicy.permit_all().require_present(
        x509.BasicConstraints, Criticality.AGNOSTIC, None
    )
    builder = PolicyBuilder().store(Store(anchors)).time(at).max_chain_depth(LONGEST)
    policy = builder.extension_policies(ca_policy=issuers, ee_policy=ExtensionPolicy.permit_all())
    verified = policy.build_client_verifier().verify(leaf, [*pool, *known])
    return tuple(verified.chain)


def refuse_revoked(chain: Iterable[x509.Certificate], revoked: Iterable[str], code: str) -> None:
    """Return if the operator has revoked none of `chain`.

    Args:
        chain: leaf first.
        revoked: lower-case hexadecimal SHA-256 of certificates, or of keys (SubjectPublicKeyInfo).
        code: first part of the code raised.

    Raises:
        EvidenceRefused: ``<code>.revoked``.
    """
    barred = {*revoked}
    if not barred:
        return
    for found in chain:
        names = {found.fingerprint(hashes.SHA256()).hex(), sha256(spki(found)).hex()}
        if names & barred:
            raise EvidenceRefused(f"{code}.revoked", "not revoked", found.subject.rfc4514_string())


@lru_cache(maxsize=KEPT)
def spki(found: x509.Certificate) -> bytes:
    """Return DER SubjectPublicKeyInfo of a certificate's key."""
    return found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@lru_cache(maxsize=KEPT)
def purposes(found: x509.Certificate) -> frozenset[str]:
    """Return the OIDs of a certificate's extended key usage; none without the extension."""
    for extension in found.extensions:
        if isinstance(extension.value, x509.ExtendedKeyUsage):
            return frozenset(purpose.dotted_string for purpose in extension.value)
    return frozenset()


@lru_cache(maxsize=KEPT)
def is_ca(found: x509.Certificate) -> bool:
    """Tell whether basicConstraints say that a certificate may issue others."""
    return any(
        isinstance(extension.value, x509.BasicConstraints) and extension.value.ca
        for extension in found.extensions
    )


def _signed_by_itself(leaf: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(leaf)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True

"""A DICE certificate chain (TCG DICE Attestation Architecture 5, 6): each layer certifies the next.

TCG marks TcbInfo as critical, and a validator that does not know it has to refuse the certificate
(RFC 5280 4.2). Here it is known: pyhanko-certvalidator, which does everything else, is told so. It
is given no more than one line of certificates, so that a device can't make it search.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from asn1crypto import x509 as asn1_x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from pyhanko_certvalidator import CertificateValidator, ValidationContext
from pyhanko_certvalidator.errors import PathBuildingError, PathError, ValidationError

from est_server.attestation.chains import LONGEST, is_ca
from est_server.attestation.reading import certificate
from est_server.pki.certificates import read_certificate
from est_server.ports.verifier import EvidenceRefused
from est_server.wire import dice

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from datetime import datetime
    from typing import Any

    from cryptography import x509
    from pyhanko_certvalidator.path import ValidationPath

    from est_server.pki.path import TrustStore

_HANDLED = frozenset({dice.TCB_INFO, dice.MULTI_TCB_INFO, dice.UEID, dice.TCB_FRESHNESS})
_MOST_CANDIDATES = 2 * LONGEST


def verify_dice_chain(
    leaf: x509.Certificate,
    pool: Sequence[bytes],
    trust: Mapping[str, TrustStore],
    at: datetime,
) -> tuple[x509.Certificate, ...]:
    """Return the path from an anchor of `trust` to `leaf`, both included, the anchor first.

    Args:
        leaf: the certificate of the last layer's key.
        pool: DER certificates that may complete the path, unbelieved.
        trust: the rule's trust stores.
        at: the time to judge for.

    Raises:
        EvidenceRefused: ``dice.is-ca``, ``dice.expired``, ``dice.not-yet-valid``,
            ``dice.unknown-issuer``.
    """
    named = " ".join(trust) or "no trust store"
    if is_ca(leaf):
        raise EvidenceRefused("dice.is-ca", "an end entity", leaf.subject.rfc4514_string())
    if at > leaf.not_valid_after_utc:
        raise EvidenceRefused("dice.expired", str(at), str(leaf.not_valid_after_utc))
    if at < leaf.not_valid_before_utc:
        raise EvidenceRefused("dice.not-yet-valid", str(at), str(leaf.not_valid_before_utc))
    anchors = [anchor for store in trust.values() for anchor in store.anchors]
    known = [extra for store in trust.values() for extra in store.intermediates]
    context = ValidationContext(
        trust_roots=[_asn1(anchor) for anchor in anchors],
        moment=at,
        time_tolerance=timedelta(0),
        allow_fetching=False,
        revocation_mode="soft-fail",
        weak_hash_algos={"md2", "md5", "sha1"},
    )
    try:
        above = _line(leaf, [*known, *map(certificate, pool)], anchors)
        validator = CertificateValidator(
            _asn1(leaf), [_asn1(found) for found in above], validation_context=context
        )
        path = _at_once(validator.async_validate_path())
    except (
        PathBuildingError, PathError, ValidationError, ValueError, TypeError, KeyError,
        UnsupportedAlgorithm,
    ) as error:  # fmt: skip
        raise EvidenceRefused("dice.unknown-issuer", named, str(error)) from error
    chain = tuple(read_certificate(found.dump()) for found in path.iter_certs(include_root=True))
    if len(chain) < 2:
        raise EvidenceRefused("dice.unknown-issuer", "a certificate below an anchor", "an anchor")
    return chain


def _line(
    leaf: x509.Certificate, pool: list[x509.Certificate], anchors: list[x509.Certificate]
) -> list[x509.Certificate]:
    """Return who issued `leaf`, who issued that one, and so on below an anchor."""
    found: list[x509.Certificate] = []
    last, left = leaf, _MOST_CANDIDATES
    while not any(last.issuer == anchor.subject for anchor in anchors) and len(found) < LONGEST:
        candidates = [one for one in pool if one.subject == last.issuer and one not in found]
        issuer = next((one for one in candidates[:left] if _issued(last, one)), None)
        left -= len(candidates)
        if issuer is None or left <= 0:
            break
        found.append(issuer)
        last = issuer
    return found


def _issued(leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _asn1(found: x509.Certificate) -> asn1_x509.Certificate:
    """Return a certificate whose DICE extensions count as understood."""
    made = asn1_x509.Certificate.load(found.public_bytes(Encoding.DER))
    made.critical_extensions.difference_update(_HANDLED)
    return made


def _at_once(validation: Coroutine[Any, Any, ValidationPath]) -> ValidationPath:
    """Return what a validation comes to that fetches nothing, and so waits for nothing."""
    try:
        validation.send(None)
    except StopIteration as done:
        path: ValidationPath = done.value
        return path
    validation.close()
    raise ValueError("the validation waits for something")

"""A key of Android's KeyMint, in a trusted execution environment or StrongBox.

    AndroidKeyStatement ::= OCTET STRING (SIZE (32))   -- ours: SHA-256 of the key's certificate

The certificate is among the bundle's, with those above it. KeyMint issues it when the key is made,
with a description of the key in it, and the nonce as its attestationChallenge.

Whoever holds a key with a certificate can sign another certificate with it, and put into that what
he likes. So of the certificates of a chain, the one nearest to the root that has a description is
the only one to be believed, and it has to be the request's key's.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

from est_server.attestation.android_policy import (
    AndroidPolicy,
    AndroidSettings,
    description_checks,
)
from est_server.attestation.android_status import refuse_listed
from est_server.attestation.chains import refuse_revoked, spki, verify_chain
from est_server.attestation.possession import named_certificate
from est_server.attestation.reading import certificate, refusing
from est_server.ports.verifier import Challenge, Check, EvidenceRefused, VerifiedEvidence
from est_server.wire.android_key import (
    KEY_DESCRIPTION,
    SECURITY_LEVELS,
    KeyDescription,
    read_key_description,
    read_statement,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cryptography import x509

    from est_server.ports.verifier import (
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        Json,
        VerificationContext,
        Verifier,
    )

_CODE = "android-key"


class AndroidKey:
    """The verifier ``android-key``."""

    settings_model = AndroidSettings
    policy_model = AndroidPolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """See `Verifier`."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002
        """Return the challenge in the key's certificate."""
        leaf, _ = _leaf(evidence)
        return _description(leaf).challenge or None

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:  # noqa: ARG002
        """Return nothing: a nonce is all that a device needs."""
        return Challenge()

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """See `Verifier`.

        Raises:
            EvidenceRefused: ``android-key.encoding``, ``.too-large``, ``.too-many``, ``.version``,
                ``.certificate-missing``, ``.revoked``, ``.extension-below``,
                ``.no-description``, ``.key-mismatch``, ``.challenge``, ``certificate.malformed``,
                and those of `verify_chain` under ``android-key``.
        """
        policy: AndroidPolicy = context.policy
        # (1) the key's certificate, and the way to a root
        leaf, pool = _leaf(evidence)
        chain, ended = _chain(leaf, pool, context)
        refuse_revoked(chain, policy.revoked, _CODE)
        refuse_listed(chain, policy.status_list or frozenset())
        # (2) the description nearest to the root, and no other, is the key's
        described = [found for found in chain if _value(found) is not None]
        if described[-1:] != [leaf]:
            below = leaf.subject.rfc4514_string()
            raise EvidenceRefused(f"{_CODE}.extension-below", "one description", below)
        said = _description(leaf)
        # (3) of the request's key, made for this request
        if spki(leaf) != context.spki:
            raise EvidenceRefused(f"{_CODE}.key-mismatch", "the attested key", "another in the CSR")
        nonce = context.nonce
        if nonce is not None and not hmac.compare_digest(said.challenge, nonce):
            raise EvidenceRefused(f"{_CODE}.challenge", "the nonce that was issued", "another")
        # (4) what kind of key, on what kind of device
        checks = [*_validity(ended), *description_checks(policy, said)]
        return VerifiedEvidence(
            binds_key=True, fresh=nonce is not None, claims=_claims(said), checks=tuple(checks)
        )


def _leaf(evidence: Evidence) -> tuple[x509.Certificate, list[bytes]]:
    with refusing():
        digest = read_statement(evidence.statement)
    return named_certificate(evidence.certificates, digest, _CODE)


def _chain(
    leaf: x509.Certificate, pool: Sequence[bytes], context: VerificationContext
) -> tuple[tuple[x509.Certificate, ...], x509.Certificate | None]:
    """Return the path, and a certificate of it that ended before now.

    With ``expired_issuers: warn`` a path counts that was valid when the first of its certificates
    ended; the key's own has to be valid now all the same.
    """
    above = [certificate(der) for der in pool]
    try:
        return verify_chain(leaf, above, context.trust, context.now, _CODE), None
    except EvidenceRefused as refused:
        ends = [found.not_valid_after_utc for found in above]
        if (
            context.policy.expired_issuers != "warn"
            or refused.code != f"{_CODE}.unknown-issuer"
            or min(ends, default=context.now) >= context.now
        ):
            raise
    chain = verify_chain(leaf, above, context.trust, min(ends), _CODE)
    return chain, next((one for one in chain if one.not_valid_after_utc < context.now), None)


def _validity(ended: x509.Certificate | None) -> list[Check]:
    if ended is None:
        return []
    said = f"{ended.subject.rfc4514_string()} until {ended.not_valid_after_utc.isoformat()}"
    return [Check("expired-issuer", "valid issuers", said, passed=False, rating="warning")]


def _value(found: x509.Certificate) -> bytes | None:
    for extension in found.extensions:
        if extension.oid.dotted_string == KEY_DESCRIPTION:
            value: bytes = extension.value.public_bytes()
            return value
    return None


def _description(leaf: x509.Certificate) -> KeyDescription:
    value = _value(leaf)
    if value is None:
        raise EvidenceRefused(f"{_CODE}.no-description", "a description of the key", "none")
    with refusing():
        return read_key_description(value)


def _claims(said: KeyDescription) -> dict[str, Json]:
    hardware = said.hardware
    root = hardware.root_of_trust
    application = said.software.application or hardware.application
    return {
        "attestation_version": said.version,
        "security_level": SECURITY_LEVELS[said.security_level],
        "keymint_version": said.keymint_version,
        "keymint_security_level": SECURITY_LEVELS[said.keymint_security_level],
        "origin": hardware.origin,
        "purposes": [*sorted(hardware.purposes)],
        "boot": None
        if root is None
        else {
            "locked": root.locked,
            "state": root.boot_state,
            "key": root.boot_key.hex(),
            "hash": None if root.boot_hash is None else root.boot_hash.hex(),
        },
        "os_version": hardware.os_version,
        "os_patch_level": hardware.os_patch_level,
        "vendor_patch_level": hardware.vendor_patch_level,
        "boot_patch_level": hardware.boot_patch_level,
        "packages": [] if application is None else [*application.packages],
        "device": dict(hardware.identifiers),
    }


if TYPE_CHECKING:
    _fits: Verifier = AndroidKey()

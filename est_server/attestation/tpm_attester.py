"""Whose attestation key (AK) signed, and which TPM it lives in.

Two ways lead to it:

    by its EK          the AK that was given to the nonce exchange: only the TPM that has both keys
                       could read the nonce (`tpm_challenge`). Its area says what the TPM does with
                       it; its EK certificate leads to a manufacturer.
    by a certificate   an attestation CA says all that, with the key purpose 2.23.133.8.3.

An AK has to be restricted: an unrestricted key signs any TPMS_ATTEST that it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from est_server.attestation.chains import KEPT, purposes, refuse_revoked, spki, verify_chain
from est_server.attestation.reading import certificate, refusing, sha256
from est_server.pki.keys import weakness
from est_server.ports.verifier import Check, EvidenceRefused, Platform
from est_server.wire import tpm_algorithms as algorithms
from est_server.wire.tpm_public import Attributes, TpmPublic, parse_public

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.attestation.tpm_policy import TpmPolicy
    from est_server.ports.verifier import Json, VerificationContext
    from est_server.wire.tpm_signature import SigningKey

EK_CERTIFICATE = "2.23.133.8.1"
AK_CERTIFICATE = "2.23.133.8.3"
_MANUFACTURER, _MODEL, _VERSION = "2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"
_FIXED = Attributes.FIXED_TPM | Attributes.FIXED_PARENT | Attributes.SENSITIVE_DATA_ORIGIN


@dataclass(frozen=True, slots=True)
class Attester:
    """The key that signed, and what is known of its TPM.

    Attributes:
        key: the attestation key.
        bare_hash: TPM_ALG_ID of the hash of its bare RSA signatures.
        platform: of the statement.
        claims: by name.
        checks: what the rule asked for.
    """

    key: SigningKey
    bare_hash: int
    platform: frozenset[Platform]
    claims: dict[str, Json]
    checks: tuple[Check, ...]


def attester(
    certificates: Sequence[bytes], context: VerificationContext, policy: TpmPolicy
) -> Attester:
    """Return whose signature the statement must have.

    Args:
        certificates: of the bundle.
        context: of the statement.
        policy: of the rule.

    Raises:
        EvidenceRefused: ``tpm2.ak-…``, ``ek.…``, ``ak.…``, ``certificate.malformed``.
    """
    pool = [certificate(der) for der in certificates]
    if context.kept:
        return _by_endorsement(pool, context, policy)
    return _by_certificate(pool, context, policy)


def require_fixed(public: TpmPublic, code: str) -> None:
    """Return if the TPM made a key itself and never gives it away (TPM 2.0 Part 2, 8.3.3).

    Raises:
        EvidenceRefused: ``<code>-imported``, ``<code>-duplicable``.
    """
    if Attributes.SENSITIVE_DATA_ORIGIN not in public.attributes:
        raise EvidenceRefused(f"{code}-imported", "made in the TPM", _shown(public))
    if _FIXED not in public.attributes:
        raise EvidenceRefused(f"{code}-duplicable", "fixedTPM, fixedParent", _shown(public))


def require_strong(key: SigningKey, code: str) -> None:
    """Return if a key is strong enough.

    Raises:
        EvidenceRefused: ``<code>-weak``.
    """
    weak = weakness(key)
    if weak:
        raise EvidenceRefused(f"{code}-weak", actual=weak)


# -- by its EK


def _by_endorsement(
    pool: list[x509.Certificate], context: VerificationContext, policy: TpmPolicy
) -> Attester:
    with refusing():
        public = parse_public(bytes.fromhex(str(context.kept["ak"])))
    _require_attestation_key(public)
    endorsement = _endorsement(pool, str(context.kept["ek"]))
    at, in_time = _judged_at(endorsement, context.now)
    in_time_check = Check(
        "ek.expired",
        f"valid at {context.now}",
        f"until {endorsement.not_valid_after_utc}",
        in_time,
        "contraindicated" if policy.ek_expired == "refuse" else "warning",
    )
    others = [one for one in pool if one is not endorsement]
    chain = verify_chain(endorsement, others, context.trust, at, "ek")
    if EK_CERTIFICATE not in purposes(endorsement):
        raise EvidenceRefused("ek.purpose", EK_CERTIFICATE, " ".join(purposes(endorsement)))
    refuse_revoked(chain, policy.revoked, "ek")
    digest = sha256(spki(endorsement)).hex()
    claims = {**_tpm_claims(endorsement), "ek": digest}
    checks = [in_time_check, *_manufacturer_checks(claims, policy)]
    if policy.ek_keys:
        passed = digest in policy.ek_keys
        checks.append(Check("ek.key", f"one of {len(policy.ek_keys)} known", digest, passed))
    return Attester(
        public.key,
        public.scheme_hash if public.scheme == algorithms.RSASSA else algorithms.NULL,
        frozenset({Platform("ek", digest), Platform("ak", sha256(public.spki).hex())}),
        claims,
        tuple(checks),
    )


def _require_attestation_key(public: TpmPublic) -> None:
    if Attributes.DECRYPT in public.attributes:
        raise EvidenceRefused("tpm2.ak-decrypts", "a signing key", _shown(public))
    if Attributes.SIGN not in public.attributes:
        raise EvidenceRefused("tpm2.ak-does-not-sign", "a signing key", _shown(public))
    if Attributes.RESTRICTED not in public.attributes:
        raise EvidenceRefused("tpm2.ak-not-restricted", "a restricted key", _shown(public))
    require_fixed(public, "tpm2.ak")
    require_strong(public.key, "tpm2.ak")


def _endorsement(pool: list[x509.Certificate], digest: str) -> x509.Certificate:
    """Return the certificate of the EK that the credential was made for."""
    endorsements = [one for one in pool if EK_CERTIFICATE in purposes(one)]
    for one in [*endorsements, *pool]:
        if sha256(spki(one)).hex() == digest:
            return one
    if endorsements:
        found = sha256(spki(endorsements[0])).hex()
        raise EvidenceRefused("ek.not-the-challenged", digest, found)
    raise EvidenceRefused("ek.missing", digest, "no EK certificate")


def _judged_at(endorsement: x509.Certificate, now: datetime) -> tuple[datetime, bool]:
    """Return the time to judge an EK chain for, and whether its leaf is valid now."""
    if now > endorsement.not_valid_after_utc:
        return endorsement.not_valid_after_utc, False
    return now, True


@lru_cache(maxsize=KEPT)
def _tpm_claims(endorsement: x509.Certificate) -> Mapping[str, Json]:
    """Read manufacturer, model and version (TCG EK Credential Profile 3.2.9)."""
    names = {_MANUFACTURER: "manufacturer", _MODEL: "model", _VERSION: "version"}
    found: dict[str, Json] = {}
    for extension in endorsement.extensions:
        if not isinstance(extension.value, x509.SubjectAlternativeName):
            continue
        for directory in extension.value.get_values_for_type(x509.DirectoryName):
            for attribute in directory:
                name = names.get(attribute.oid.dotted_string)
                if name and isinstance(attribute.value, str):
                    found[name] = attribute.value
    return found


def _manufacturer_checks(claims: Mapping[str, Json], policy: TpmPolicy) -> list[Check]:
    if not policy.manufacturers:
        return []
    actual = str(claims.get("manufacturer", ""))
    wanted = {one.lower() for one in policy.manufacturers}
    passed = actual.lower() in wanted
    return [Check("tpm.manufacturer", " ".join(policy.manufacturers), actual, passed)]


# -- by a certificate


def _by_certificate(
    pool: list[x509.Certificate], context: VerificationContext, policy: TpmPolicy
) -> Attester:
    """An attestation CA answers for the key's attributes and for its TPM."""
    issuers = {one.issuer for one in pool}
    leaves = [one for one in pool if AK_CERTIFICATE in purposes(one)] or [
        one for one in pool if one.subject not in issuers
    ]
    if len(leaves) != 1:
        raise EvidenceRefused("ak.missing", "one AK certificate, or a credential challenge")
    leaf = leaves[0]
    others = [one for one in pool if one is not leaf]
    chain = verify_chain(leaf, others, context.trust, context.now, "ak")
    if AK_CERTIFICATE not in purposes(leaf):
        raise EvidenceRefused("ak.purpose", AK_CERTIFICATE, " ".join(purposes(leaf)))
    refuse_revoked(chain, policy.revoked, "ak")
    key = leaf.public_key()
    if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
        raise EvidenceRefused("tpm2.ak-weak", "an RSA or EC key", type(key).__name__)
    require_strong(key, "tpm2.ak")
    claims = dict(_tpm_claims(leaf))
    checks = _manufacturer_checks(claims, policy)
    if policy.ek_keys:
        wanted = f"one of {len(policy.ek_keys)} known"
        checks.append(Check("ek.key", wanted, "not shown", passed=False))
    platform = frozenset({Platform("ak", sha256(spki(leaf)).hex())})
    return Attester(key, algorithms.SHA256, platform, claims, tuple(checks))


def _shown(public: TpmPublic) -> str:
    return f"objectAttributes 0x{int(public.attributes):08x}"

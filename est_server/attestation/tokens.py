"""What every signed token goes through before its claims are believed."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Annotated, Any

import cbor2  # noqa: F401 - an extra; without it a policy's line is named before evidence comes
import joserfc  # noqa: F401 - likewise
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import Field, StringConstraints, field_validator

from est_server.attestation.reading import refusing, sha256
from est_server.ports.scalars import Strict
from est_server.ports.verifier import EvidenceRefused, Platform
from est_server.wire.confirmation import confirmed_spki
from est_server.wire.eat import Eat, parse_statement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.verifier import Evidence, Json, VerificationContext

CLOCK_SKEW = 60.0
"""Seconds that a device's clock may be ahead."""

Ueid = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}){7,33}$")]


class TokenPolicy(Strict):
    """Who may sign tokens."""

    keys: dict[Ueid, str] = Field(
        min_length=1,
        description="Endorsements: ueid (PSA: instance id) in hexadecimal -> its key, PEM.",
    )

    @field_validator("keys")
    @classmethod
    def _readable(cls, value: dict[str, str]) -> dict[str, str]:
        for text in value.values():
            public_key(text)
        return value


def public_key(text: str) -> ec.EllipticCurvePublicKey:
    """Read an EC public key from PEM.

    Raises:
        ValueError: it is something else.
    """
    found = load_pem_public_key(text.encode())
    if not isinstance(found, ec.EllipticCurvePublicKey):
        raise ValueError("tokens are signed by EC keys")  # noqa: TRY004 - pydantic wants it
    return found


def claimed_nonce(evidence: Evidence) -> bytes | None:
    """Return the nonce that an unverified token claims to answer.

    Raises:
        EvidenceRefused: the token's structure; ``eat.nonce-array``.
    """
    with refusing():
        token = parse_statement(evidence.statement)
    return token.nonce if token.nonce is not None else _eat_nonce(token)


def believe(token: Eat, context: VerificationContext) -> tuple[bool, bool]:
    """Return whether a token binds the CSR's key, and whether it is fresh.

    Raises:
        EvidenceRefused: ``eat.unknown-device``, ``eat.nonce``, ``eat.nonce-array``,
            ``eat.iat-future``, ``eat.cnf``, ``cose.…``, ``jws.…``.
    """
    claims = token.claims
    # (1) signed by the device that the claims name
    ueid = claims.get("ueid", b"").hex()
    pem = context.policy.keys.get(ueid)
    if pem is None:
        raise EvidenceRefused("eat.unknown-device", "a ueid with a key", ueid or "no ueid")
    with refusing():
        token.signed.verify(public_key(pem))
    # (2) for this request
    bound, fresh = _nonce(token, context)
    # (3) not from a clock that is ahead
    if "iat" in claims and claims["iat"] > context.now.timestamp() + CLOCK_SKEW:
        raise EvidenceRefused("eat.iat-future", str(context.now.timestamp()), str(claims["iat"]))
    # (4) about this key
    if "cnf" in claims:
        with refusing():
            confirmed = confirmed_spki(claims["cnf"])
        if confirmed != context.spki:
            raise EvidenceRefused("eat.cnf", "the CSR's key", "another")
        bound = True
    return bound, fresh


def platform(claims: Mapping[str, Any]) -> frozenset[Platform]:
    """Return the device's digest."""
    return frozenset({Platform("ueid", sha256(claims["ueid"]).hex())})


def shown(value: Any) -> Json:
    """Return a claim as it is kept: octets in hexadecimal."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {
            key.hex() if isinstance(key, bytes) else str(key): shown(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [shown(one) for one in value]
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _nonce(token: Eat, context: VerificationContext) -> tuple[bool, bool]:
    """Return whether the nonce binds the key, and whether there is one."""
    claimed = _eat_nonce(token)
    if context.nonce is None:
        return False, False
    if token.nonce is None:
        if claimed is None or not hmac.compare_digest(claimed, context.nonce):
            raise EvidenceRefused("eat.nonce", "the nonce that was issued", "another")
        return False, True
    wanted = sha256(context.nonce + context.spki)
    if claimed is None or not hmac.compare_digest(claimed, wanted):
        raise EvidenceRefused("eat.nonce", "SHA-256 of nonce and key", "another")
    return True, True


def _eat_nonce(token: Eat) -> bytes | None:
    found = token.claims.get("eat_nonce")
    if isinstance(found, list):
        # RFC 9711 4.1 allows several; one that fits among others was made for others
        raise EvidenceRefused("eat.nonce-array", "one nonce", f"{len(found)}")
    if found is not None and not isinstance(found, bytes):
        raise EvidenceRefused("eat.nonce", "octets", type(found).__name__)
    return found

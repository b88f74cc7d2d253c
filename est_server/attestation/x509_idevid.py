"""The device's identity beside its evidence: its manufacturer's certificate (IEEE 802.1AR).

    IDevIDStatement ::= Possession          -- `est_server.wire.possession`; its signature is over

    "est-server IDevID statement" 00 nonce SHA-256(SubjectPublicKeyInfo of the request)

With a signature, the holder of the IDevID's key speaks for the request's key now. Without one, the
IDevID must be what the device showed on its TLS connection, whose handshake proves the same.

An IDevID says who the device is and nothing of where the request's key lives; whether its word for
that key counts is the policy's to say (`vouches`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from cryptography import x509
from pydantic import Field

from est_server.attestation.chains import refuse_revoked, spki, verify_chain
from est_server.attestation.possession import named_certificate, verify_possession
from est_server.attestation.reading import certificate, refusing, sha256
from est_server.errors import Unauthenticated
from est_server.pki.identity import identity_field
from est_server.pki.names import hardware_module_names
from est_server.ports.scalars import Strict
from est_server.ports.verifier import (
    Challenge,
    Check,
    EvidenceRefused,
    Platform,
    VerifiedEvidence,
)
from est_server.wire.possession import Possession, read_possession

if TYPE_CHECKING:
    from est_server.ports.verifier import (
        ChallengeContext,
        ChallengeRequest,
        Evidence,
        Json,
        VerificationContext,
        Verifier,
    )

CONTEXT = b"est-server IDevID statement\0"


class IdevidSettings(Strict):
    """``attestation.verifiers.x509-idevid`` in server.yaml."""

    statement_type: str = Field(
        default="2.25.144007941820518531268437250344440601505",
        pattern=r"^[0-2](\.[0-9]{1,39})+$",
        description="OID of the statement; ours, from a UUID (X.667)",
    )


class IdevidPolicy(Strict):
    """A rule with ``verifier: x509-idevid``."""

    identity: Literal[
        "subject.serialNumber", "subject.commonName", "san.hardwareModuleName", "san.uri"
    ] = Field(default="subject.serialNumber", description="the field that names the device")
    names: tuple[str, ...] = Field(
        default=(), description="the devices that may enroll, by that field; any without"
    )
    hw_types: tuple[str, ...] = Field(
        default=(), description="hwType of the hardwareModuleName, one of these; any without"
    )
    vouches: bool = Field(
        default=False,
        description="whether a signature of the IDevID's key for the request's key counts as a "
        "statement about that key",
    )
    revoked: tuple[str, ...] = Field(
        default=(), description="SHA-256 of certificates or keys that count no more"
    )


class X509Idevid:
    """Verifies that the holder of an IDevID makes the request."""

    settings_model = IdevidSettings
    policy_model = IdevidPolicy
    may_block = False

    def statement_types(self, settings: Any) -> frozenset[str]:
        """Return the one OID."""
        return frozenset({settings.statement_type})

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:  # noqa: ARG002 - the port's
        """Return the statement's nonce; None where the TLS connection stands for one."""
        return _read(evidence.statement).nonce or None

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:  # noqa: ARG002 - the port's
        """Return nothing: a nonce is all that a device needs."""
        return Challenge()

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """Verify a statement.

        Raises:
            EvidenceRefused: ``idevid.encoding``, ``idevid.certificate-missing``,
                ``idevid.not-shown``, ``idevid.signature``, ``idevid.nonce-missing``,
                ``idevid.key-unsupported``, ``idevid.name``, ``certificate.malformed``, and
                those of `verify_chain` under ``idevid``.
        """
        said = _read(evidence.statement)
        # 1: the certificate, and the way to a manufacturer's root
        pool = [*evidence.certificates, *context.client_chain]
        leaf, others = named_certificate(pool, said.certificate, "idevid")
        above = [certificate(der) for der in others]
        chain = verify_chain(leaf, above, context.trust, context.now, "idevid")
        refuse_revoked(chain, context.policy.revoked, "idevid")
        # 2: its key, now
        if said.signature:
            if not said.nonce:
                raise EvidenceRefused("idevid.nonce-missing", "a nonce under the signature", "none")
            signed = CONTEXT + said.nonce + sha256(context.spki)
            verify_possession(leaf, said.signature, signed, "idevid")
        elif [sha256(der) for der in context.client_chain[:1]] != [said.certificate]:
            shown = "another certificate" if context.client_chain else "none"
            raise EvidenceRefused("idevid.not-shown", "the IDevID on the TLS connection", shown)
        # 3: who it is
        claims = _claims(leaf, context.policy.identity)
        return VerifiedEvidence(
            binds_key=bool(said.signature) and context.policy.vouches,
            fresh=not said.signature or context.nonce == said.nonce,
            platform=frozenset({Platform("idevid", sha256(spki(leaf)).hex())}),
            claims=claims,
            checks=tuple(_checks(context.policy, claims)),
        )


def _read(der: bytes) -> Possession:
    with refusing():
        return read_possession(der, "idevid.encoding")


def _claims(leaf: x509.Certificate, field: str) -> dict[str, Json]:
    try:
        name = identity_field(leaf, field)
        names = next(
            (
                extension.value
                for extension in leaf.extensions
                if isinstance(extension.value, x509.SubjectAlternativeName)
            ),
            (),
        )
        modules = hardware_module_names(names)
    except (Unauthenticated, ValueError) as error:
        raise EvidenceRefused("idevid.name", field, str(error)) from error
    return {
        "name": name,
        "subject": leaf.subject.rfc4514_string(),
        "issuer": leaf.issuer.rfc4514_string(),
        "not_after": leaf.not_valid_after_utc.isoformat(),
        "hw_types": [kind for kind, _ in modules],
        "hw_serial_numbers": [number.hex() for _, number in modules],
    }


def _checks(policy: IdevidPolicy, claims: dict[str, Json]) -> list[Check]:
    found = []
    if policy.names:
        name = str(claims["name"])
        allowed = f"one of {len(policy.names)} names"
        found.append(Check("name", allowed, name, name in policy.names))
    if policy.hw_types:
        kinds = claims["hw_types"] if isinstance(claims["hw_types"], list) else []
        fits = bool(kinds) and all(kind in policy.hw_types for kind in kinds)
        found.append(Check("hw-type", ", ".join(policy.hw_types), ", ".join(kinds), fits))
    return found


_: Verifier = X509Idevid()

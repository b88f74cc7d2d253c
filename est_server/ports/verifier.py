"""Verifiers of attestation Evidence (RFC 9334), found by entry point (``est_server.verifiers``).

A verifier knows one or a few formats of AttestationStatement
(draft-ietf-lamps-csr-attestation). It is pure over bytes: no clock, no socket, no database; time,
nonce and trust come with the context. What must hold for the Evidence to be believed at all,
signatures and structure, it enforces itself and raises `EvidenceRefused`; what the operator wants
of believed Evidence it compares and returns as checks, passed or not: the appraisal policy decides
what follows (`est_server.attestation.appraise`).

The names in a policy's rule are the entry points' names: ``verifier: tpm2-certify``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from est_server.pki.path import TrustStore

Json = str | int | float | bool | None | list[Any] | dict[str, Any]
"""What JSON has; kept with a decision for years, so octets are hexadecimal texts."""

Rating = Literal["warning", "contraindicated"]
NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Evidence:
    """One AttestationStatement of a bundle.

    Attributes:
        statement_type: the statement's OID, dotted.
        statement: DER of its ``stmt``, header included, whole and without trailing octets. The
            formats inside are the verifier's to judge.
        certificates: DER of every X.509 certificate of the bundle, in no meaningful order; all
            statements share them. They are as unbelieved as the statement.
    """

    statement_type: str
    statement: bytes
    certificates: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Platform:
    """A digest that only one platform can have in its Evidence.

    Two statements speak of the same platform if they share one: a quote and a key certification
    that one attestation key signed, both with ``Platform("ak", SHA-256 of its SPKI)``.

    Attributes:
        kind: what was hashed: ``ak``, ``ek``, ``ueid``, ``idevid``; verifiers that want to be
            used together agree on it.
        digest: lower-case hexadecimal SHA-256.
    """

    kind: str
    digest: str


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison, as ``attestation explain`` shows it.

    Attributes:
        code: stable lower-case dotted name without the verifier's: ``pcr``, ``ek.expired``.
        expected: what the policy or the format asks for; never shown to the device.
        actual: what the Evidence has; never shown to the device.
        passed: whether they fit.
        rating: what a check that did not pass makes of the platform.
    """

    code: str
    expected: str
    actual: str
    passed: bool
    rating: Rating = "contraindicated"


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """What believed Evidence says.

    Attributes:
        binds_key: whether it proves that the attested platform holds the CSR's key.
        fresh: whether it proves that it was made for the context's nonce.
        platform: see `Platform`; empty says nothing, and stands beside no other statement.
        claims: what an appraisal policy can ask for, by name; values are text, numbers, booleans,
            or lists and mappings of them.
        checks: in the order in which they were made.
    """

    binds_key: bool
    fresh: bool
    platform: frozenset[Platform] = frozenset()
    claims: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    checks: tuple[Check, ...] = ()


class EvidenceRefused(Exception):
    """Evidence that can't be believed, or that proves nothing here.

    Args:
        code: stable lower-case dotted name, one for each kind of attack or defect, for example
            ``tpm2.name-mismatch``. The device is told the code and nothing else.
        expected: for ``why`` and ``explain``, never for the device.
        actual: likewise.
    """

    def __init__(self, code: str, expected: str = "", actual: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.expected = expected
        self.actual = actual


@dataclass(frozen=True, slots=True)
class ChallengeRequest:
    """What a device sends to ``/nonce`` for one statement type, its ``reqTypeInfo``.

    Attributes:
        statement_type: the OID in ``type``.
        info: ``reqInfo`` as JSON has it; None without one. Capped in size, nothing else is known.
    """

    statement_type: str
    info: Json


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a verifier adds to a nonce.

    Attributes:
        info: ``respInfo`` for the device, for example a PCR selection; None for none.
        hidden: True if the device learns the nonce from `info` alone, by a secret that only the
            attested platform can open (TPM2_ActivateCredential); the answer's ``nonce`` is empty
            then.
        kept: what the verifier wants back with the Evidence that answers the nonce, at most 4 KiB
            of JSON; never the nonce itself, of which the server keeps a hash alone.
    """

    info: Json = None
    hidden: bool = False
    kept: Mapping[str, Json] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class ChallengeContext:
    """What `Verifier.challenge` may use.

    Attributes:
        nonce: the new nonce, of the length that was asked for, 8 to 64 octets.
        now: the time.
        settings: an instance of `Verifier.settings_model`.
        policy: an instance of `Verifier.policy_model`: the first rule of the label's policy for
            this verifier.
        trust: that rule's trust stores by name.
    """

    nonce: bytes
    now: datetime
    settings: Any
    policy: Any
    trust: Mapping[str, TrustStore] = field(default_factory=lambda: NOTHING)


@dataclass(frozen=True, slots=True)
class VerificationContext:
    """What `Verifier.verify` may use.

    Attributes:
        spki: DER SubjectPublicKeyInfo of the CSR's key, whose possession is proven.
        nonce: the nonce that the statement claims to answer: issued by this server to this device
            for this label, not expired, and spent on this request by now. None if the statement
            claims none: a verifier whose format can hold one then returns ``fresh=False`` at most.
        kept: `Challenge.kept` of that nonce.
        now: the time.
        settings: an instance of `Verifier.settings_model`.
        policy: an instance of `Verifier.policy_model`.
        trust: the trust stores that the rule names, by name.
        client_chain: DER certificates that the device showed on its TLS connection, leaf first;
            it holds the leaf's key, nothing else is known. Empty without.
    """

    spki: bytes
    nonce: bytes | None
    now: datetime
    settings: Any
    policy: Any
    trust: Mapping[str, TrustStore] = field(default_factory=lambda: NOTHING)
    kept: Mapping[str, Json] = field(default_factory=lambda: NOTHING)
    client_chain: tuple[bytes, ...] = field(default=(), repr=False)


class Verifier(Protocol):
    """The entry point's object (or a class of it, without arguments).

    Everything here is called on untrusted input and may raise `EvidenceRefused`; whatever else it
    raises is a refusal too (``attestation.verifier-failed``), and a defect.
    """

    @property
    def settings_model(self) -> type[Any]:
        """The pydantic model of ``attestation.verifiers.<name>`` in server.yaml.

        Every key has a default. OIDs that are not final belong there.
        """
        ...

    @property
    def policy_model(self) -> type[Any]:
        """The pydantic model of a policy rule's own keys, beside those that every rule has."""
        ...

    @property
    def may_block(self) -> bool:
        """Whether `verify` takes more than a few milliseconds or asks somebody else.

        It then runs in a thread and is given up after ``attestation.time_limit``.
        """
        ...

    def statement_types(self, settings: Any) -> frozenset[str]:
        """Return the OIDs of the statements that this verifier reads."""
        ...

    def nonce(self, evidence: Evidence, settings: Any) -> bytes | None:
        """Return the nonce that a statement claims to answer, from an unverified reading.

        The server spends it before `verify` is called, so that a replay finds it gone. None if
        there is none; a format that can't be read raises, and nothing is spent.

        Raises:
            EvidenceRefused: the statement's structure.
        """
        ...

    def challenge(self, request: ChallengeRequest, context: ChallengeContext) -> Challenge:
        """Return what a device that is about to make this statement has to know.

        Raises:
            EvidenceRefused: the request's info; the device is told that it was malformed.
        """
        ...

    def verify(self, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
        """Verify a statement.

        Raises:
            EvidenceRefused: it is not believed, or its key, nonce or chain is not the context's.
        """
        ...

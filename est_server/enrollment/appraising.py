"""Evidence in a request: its nonces are spent, then it is verified, then appraised.

The order is what makes a nonce good for one request: of two that bring the same one, on one server
or on many, the second finds it spent before anybody looks at its evidence.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

from est_server.attestation.appraise import Asked, Finding, appraise, matches
from est_server.attestation.changes import differs, statuses, worse_than
from est_server.enrollment.identifiers import new_identifier
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.appraisals import Appraisal
from est_server.ports.nonces import Presented
from est_server.ports.verifier import (
    Evidence,
    EvidenceRefused,
    VerificationContext,
    VerifiedEvidence,
)
from est_server.wire.attestation import attestation_bundle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from est_server.attestation.policy import Policy, Rule
    from est_server.enrollment.request import EnrollmentRequest
    from est_server.ports.attestation import AttestationResult
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger
    from est_server.ports.nonces import TakenNonce
    from est_server.ports.tls import TlsFacts
    from est_server.profiles.decision import RequestFacts
    from est_server.profiles.demands import Attestation
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest

    Take = Callable[[bytes], Awaitable[TakenNonce]]

log = structlog.get_logger("attestation")


@dataclass(frozen=True, slots=True)
class Appraiser:
    """Appraises evidence under the policies of the configuration.

    Attributes:
        policies: by name.
        ledger: spends nonces.
        time_limit: seconds for a verifier that may block.
        clock: the time.
    """

    policies: Mapping[str, Policy]
    ledger: Ledger
    time_limit: float
    clock: Clock

    async def appraise(
        self, profile: Profile, request: EnrollmentRequest, facts: RequestFacts, use: bytes
    ) -> AttestationResult | None:
        """Return what a request's evidence comes to; None if the profile asks for none.

        Args:
            profile: names the policy.
            request: as received.
            facts: as far as they are known.
            use: digest of who asks for what.

        Raises:
            Malformed: ``attestation.*``: the attribute can't be read.
            BackendUnavailable: ``attestation.verifier-unavailable``.
        """
        if profile.model.attestation is None:
            return None
        presented = presented_by(request, use)

        async def take(digest: bytes) -> TakenNonce:
            return await self.ledger.nonces.take(digest, presented, at=self.clock())

        policy = self.policies[profile.model.attestation.policy]
        result = await self.appraise_csr(
            policy, facts.csr, facts.identity.name, request.tls.client_chain, take
        )
        return await self._remembered(profile.name, profile.model.attestation, facts, result)

    async def _remembered(
        self, profile: str, wanted: Attestation, facts: RequestFacts, result: AttestationResult
    ) -> AttestationResult:
        """Write down what changed since the time before, and return the result that says so.

        A nonce that does not fit says nothing about the platform.
        """
        if result.repeated or result.code.startswith("nonce."):
            return result
        identity = facts.identity.name
        before = await self.ledger.appraisals.latest(identity, profile)
        result = replace(result, worse=worse_than(before, result))
        found = attestation_bundle(facts.csr)
        kept = None if found is None or wanted.keep_evidence is None else found.der
        if kept is None and not differs(before, result):
            return result
        until = result.at + wanted.keep_evidence if kept and wanted.keep_evidence else None
        appraisal = Appraisal(
            id=new_identifier("a", result.at),
            identity=identity,
            profile=profile,
            at=result.at,
            status=result.status,
            rules=statuses(result),
            policy=result.policy,
            worse=result.worse,
            evidence=kept,
            evidence_until=until,
        )
        await self.ledger.appraisals.add(appraisal)
        if result.worse:
            log.warning("attestation.worse", identity=identity, profile=profile, worse=result.worse)
        return result

    async def appraise_csr(
        self,
        policy: Policy,
        csr: CertificationRequest,
        identity: str,
        client_chain: tuple[bytes, ...],
        take: Take,
    ) -> AttestationResult:
        """Appraise the evidence of a CSR whose signature has been checked.

        Args:
            policy: to appraise under.
            csr: the request.
            identity: who asks.
            client_chain: what the device showed on its connection.
            take: spends the nonce with this SHA-256, or raises `Conflict`.

        Raises:
            Malformed, BackendUnavailable: as in `appraise`.
        """
        found = attestation_bundle(csr)
        bundle = (
            ()
            if found is None
            else tuple(Evidence(one.type, one.stmt, found.certificates) for one in found.statements)
        )
        pairs = matches(policy, bundle)
        # 1: which nonces the statements claim to answer, and whether these are theirs
        claimed = {
            (rule.model.verifier, id(evidence)): _claimed(rule, evidence)
            for rule, evidence in pairs
        }
        taken = await _taken(claimed.values(), take)
        # 2: the statements, each under every rule that is about it
        findings = []
        for rule, evidence in pairs:
            nonce = claimed[rule.model.verifier, id(evidence)]
            state = taken.get(nonce) if isinstance(nonce, bytes) else nonce
            said: VerifiedEvidence | EvidenceRefused
            if isinstance(state, EvidenceRefused):
                said = state
            else:
                context = VerificationContext(
                    spki=csr.spki,
                    nonce=nonce if isinstance(nonce, bytes) else None,
                    now=self.clock(),
                    settings=rule.settings,
                    policy=rule.policy,
                    trust=rule.trust,
                    kept={} if state is None else json.loads(state.kept),
                    client_chain=client_chain,
                )
                said = await self._verified(rule, evidence, context)
            findings.append(Finding(rule, evidence, said))
        # 3: all of them together
        repeated = any(not isinstance(one, EvidenceRefused) and one.again for one in taken.values())
        asked = Asked(_serial_number(csr.subject), identity)
        return appraise(policy, bundle, findings, asked, self.clock(), repeated=repeated)

    async def _verified(
        self, rule: Rule, evidence: Evidence, context: VerificationContext
    ) -> VerifiedEvidence | EvidenceRefused:
        """Return what a verifier says; whatever it does, nothing is believed by accident."""
        verifier = rule.verifier
        said: object  # a plug-in may return anything
        try:
            if verifier.may_block:
                async with asyncio.timeout(self.time_limit):
                    said = await asyncio.to_thread(verifier.verify, evidence, context)
            else:
                said = verifier.verify(evidence, context)
        except EvidenceRefused as refusal:
            return refusal
        except (TimeoutError, BackendUnavailable) as error:
            log.warning("verifier.unavailable", verifier=rule.model.verifier, rule=rule.model.name)
            if rule.model.enforce == "report-only":
                return EvidenceRefused("attestation.verifier-unavailable")
            raise BackendUnavailable(
                "attestation.verifier-unavailable",
                "the evidence can't be verified now; ask for a new nonce and come again",
            ) from error
        except Exception as error:  # noqa: BLE001 - a verifier's defect is a refusal
            return _failed(rule, error)
        if not isinstance(said, VerifiedEvidence):
            return _failed(rule, TypeError("no VerifiedEvidence"))
        return said


def presented_by(request: EnrollmentRequest, use: bytes) -> Presented:
    """Return what a request shows beside its nonces."""
    return Presented(
        label=request.label or "",
        session=session_digest(request.tls),
        cookie=cookie_digest(request.nonce_cookie),
        use=use,
    )


def session_digest(tls: TlsFacts) -> bytes:
    """Return what stands for a TLS session; empty where nothing does, as behind a proxy."""
    if tls.tls_exporter is not None:
        return sha256(b"tls-exporter" + tls.tls_exporter).digest()
    if tls.tls_unique is not None:
        return sha256(b"tls-unique" + tls.tls_unique).digest()
    return b""


def cookie_digest(cookie: str | None) -> bytes:
    """Return what stands for a cookie; empty without one."""
    return b"" if not cookie else sha256(cookie.encode("utf-8", "surrogateescape")).digest()


async def _taken(
    claimed: Iterable[bytes | EvidenceRefused | None], take: Take
) -> dict[bytes, TakenNonce | EvidenceRefused]:
    """Spend each nonce that is claimed, once."""
    found: dict[bytes, TakenNonce | EvidenceRefused] = {}
    for nonce in claimed:
        if isinstance(nonce, bytes) and nonce not in found:
            try:
                found[nonce] = await take(sha256(nonce).digest())
            except Conflict as refusal:
                found[nonce] = EvidenceRefused(refusal.rule, "a live nonce", refusal.message)
    return found


def _claimed(rule: Rule, evidence: Evidence) -> bytes | EvidenceRefused | None:
    try:
        return rule.verifier.nonce(evidence, rule.settings)
    except EvidenceRefused as refusal:
        return refusal
    except Exception as error:  # noqa: BLE001 - a verifier's defect is a refusal
        return _failed(rule, error)


def _failed(rule: Rule, error: Exception) -> EvidenceRefused:
    """Note a verifier's defect: where it is, and nothing of the evidence that met it."""
    frames = traceback.extract_tb(error.__traceback__)
    at = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None
    log.error("verifier.failed", verifier=rule.model.verifier, kind=type(error).__name__, at=at)
    return EvidenceRefused("attestation.verifier-failed")


def _serial_number(subject: x509.Name) -> str | None:
    found = subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)
    return str(found[0].value) if len(found) == 1 else None

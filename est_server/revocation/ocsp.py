"""Answers to OCSP requests (RFC 6960 2.2), for every CA of this server.

1. read the request                                   | malformedRequest
2. every CertID names one and the same CA of ours     | unauthorized (RFC 5019 2.2.3)
3. the responder, before the ledger: making one may take long
4. the ledger's word on each certificate, each time   | tryLater
5. memory, if it says the same and is young enough
6. sign; keep what may be asked for again

What stands before the service (`est_server.web.ocsp_fast`) may leave out all of it for a request
that it knows, under the conditions of `est_server.revocation.ocsp_memory`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.errors import BackendRejected, BackendUnavailable, Malformed
from est_server.pki.ocsp import issuer_keys
from est_server.revocation.follower import Follows
from est_server.revocation.ocsp_memory import TRUSTED_FOR, AnswerMemory, OcspAnswer, Slot
from est_server.revocation.ocsp_status import Finding, finding
from est_server.wire.ocsp import parse_ocsp_request
from est_server.wire.ocsp_response import SingleResponse, unsuccessful

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.pki.ocsp import IssuerKey, ResponseSigner
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger
    from est_server.revocation.ocsp_memory import Lease
    from est_server.revocation.ocsp_responder import Responder
    from est_server.wire.ocsp import CertId, OcspRequest
    from est_server.wire.ocsp_response import Unsuccessful

_UNKNOWN_FOR = timedelta(minutes=5)
"""How long "unknown" may be kept: the certificate may be issued meanwhile."""


@dataclass(slots=True)
class CaAnswers:
    """What one CA needs to answer.

    Attributes:
        responder: signs; knows the CA and its policy.
        memory: what was signed.
    """

    responder: Responder
    memory: AnswerMemory

    def follows(self) -> Follows:
        """Return what the follower tells this CA."""

        def forget(serial_number: int) -> None:
            self.memory.forget(serial_number)
            self.responder.withdraw(serial_number)

        return Follows(forget, self.memory.forget_all)


@dataclass(slots=True)
class OcspService:
    """Answers OCSP requests.

    Attributes:
        ledger: has the last word.
        lease: shared with the follower and every memory.
        clock: the time.
        cas: who answers, by the CA's name.
    """

    ledger: Ledger
    lease: Lease
    clock: Clock
    cas: dict[str, CaAnswers] = field(default_factory=dict)
    _issuers: dict[IssuerKey, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, ca in self.cas.items():
            self.add(name, ca)

    def add(self, name: str, ca: CaAnswers) -> None:
        """Answer for one more CA."""
        self.cas[name] = ca
        for key in issuer_keys(ca.responder.authority.certificates().issuer):
            self._issuers[key] = name

    async def answer(self, request: bytes) -> tuple[OcspAnswer, Slot | None]:
        """Return the answer to a request, and where it is kept if it is.

        Never raises for what a peer or the ledger does: there is a response for each case.
        """
        try:
            asked = parse_ocsp_request(request)  # 1
        except Malformed:
            return refusal("malformed_request"), None
        names = {self._issuer(cert_id) for cert_id in asked.cert_ids}
        name = names.pop()
        if names or name is None:  # 2
            return refusal("unauthorized"), None
        try:
            return await self._answer(self.cas[name], asked)
        except (BackendUnavailable, BackendRejected):
            return refusal("try_later"), None

    def _issuer(self, cert_id: CertId) -> str | None:
        key = (cert_id.hash_algorithm, cert_id.issuer_name_hash, cert_id.issuer_key_hash)
        return self._issuers.get(key)

    async def _answer(self, ca: CaAnswers, request: OcspRequest) -> tuple[OcspAnswer, Slot | None]:
        signer = await ca.responder.signer()  # 3
        read_at, began = self.lease.sequence, self.lease.elapsed()
        now = self.clock()
        found = [await self._find(ca, cert_id, now) for cert_id in request.cert_ids]  # 4
        if self.lease.elapsed() - began > TRUSTED_FOR:
            return refusal("try_later"), None  # the first may be wrong by now
        single = found[0] if len(found) == 1 and request.nonce is None else None
        if single is None or not single.issued or not ca.responder.policy.presign:
            return _sign(ca, signer, request.cert_ids, found, request.nonce, now), None
        (cert_id,) = request.cert_ids
        slot = ca.memory.find(cert_id)  # 5
        if (
            slot is not None
            and slot.answer is not None
            and slot.finding == single
            and now.timestamp() < slot.refresh_at
        ):
            slot.asked = True
            return slot.answer, slot
        answer = _sign(ca, signer, (cert_id,), found, None, now)  # 6
        slot = ca.memory.keep(cert_id, single, answer, read_at)
        if slot is not None:
            slot.asked = True
        return answer, slot

    async def _find(self, ca: CaAnswers, cert_id: CertId, now: datetime) -> Finding:
        responder = ca.responder
        record = await self.ledger.certificate(responder.ca, cert_id.serial_number)
        issuer = responder.authority.certificates().issuer
        policy = responder.policy
        return finding(record, issuer, policy.never_issued, now, policy.archive)

    async def refresh(self, within: float) -> int:
        """Sign again what has lived a third of its life and was asked for; forget the rest.

        Args:
            within: seconds after which the rest waits for the next turn.

        Returns:
            How many were signed.

        Raises:
            BackendRejected, BackendUnavailable: a responder or the ledger.
        """
        signed, end = 0, self.lease.elapsed() + within
        for ca in self.cas.values():
            for slot in ca.memory.due(self.clock().timestamp()):
                if self.lease.elapsed() > end:
                    return signed
                if not slot.asked or slot.answer is None:
                    ca.memory.drop(slot)
                    continue
                signer, read_at, now = (
                    await ca.responder.signer(),
                    self.lease.sequence,
                    self.clock(),
                )
                found = await self._find(ca, slot.cert_id, now)
                answer = _sign(ca, signer, (slot.cert_id,), [found], None, now)
                if slot.answer is None or (
                    ca.memory.keep(slot.cert_id, found, answer, read_at) is None
                ):
                    ca.memory.drop(slot)
                signed += 1
        return signed


def _sign(
    ca: CaAnswers,
    signer: ResponseSigner,
    cert_ids: Sequence[CertId],
    found: Sequence[Finding],
    nonce: bytes | None,
    now: datetime,
) -> OcspAnswer:
    policy = ca.responder.policy
    begin = now.replace(microsecond=0)
    # a response must not outlive the certificate that proves its signer
    end = min(begin + policy.lifetime, signer.certificate.not_valid_after_utc)
    soon = min(end, begin + _UNKNOWN_FOR)
    ends = [end if one.issued else soon for one in found]
    der = signer.sign(
        [
            SingleResponse(
                cert_id=cert_id,
                status=one.status,
                this_update=begin,
                next_update=next_update,
                revocation_time=one.revocation_time,
                revocation_reason=one.revocation_reason,
                archive_cutoff=one.archive_cutoff,
            )
            for cert_id, one, next_update in zip(cert_ids, found, ends, strict=True)
        ],
        produced_at=begin,
        nonce=nonce,
        # RFC 6960 4.4.8: in every response of a responder that answers like this
        extended_revoke=policy.never_issued == "revoked",
    )
    outcome = found[0].status if len(found) == 1 else "several"
    if nonce is not None:
        return OcspAnswer(der, outcome)
    return OcspAnswer(der, outcome, begin, min(ends))


def refusal(status: Unsuccessful) -> OcspAnswer:
    """Return an answer that says why there is none."""
    return OcspAnswer(_REFUSALS[status], status)


_REFUSALS: Mapping[Unsuccessful, bytes] = {
    status: unsuccessful(status)
    for status in ("malformed_request", "internal_error", "try_later", "unauthorized")
}

"""simpleenroll, simplereenroll and serverkeygen (RFC 7030 4.2, 4.4), step by step.

1. the label names the profile
2. authenticate: a 401 leaves nothing behind, and nobody unknown reaches the CSR parser
3. parse the CSR and check its signature (RFC 7030 4.2.1: proof of possession)
   and appraise the evidence that is in it, where the profile asks for any
4. decide: one pure function; a refusal is recorded with its whole trace, and so is a request that
   has to wait for a person (`est_server.enrollment.review`)
5. the same question within the window gets the same certificate
6. issue, check against the plan, record; the certificate leaves only when its row is durable

What the last step does when a CA fails or the process dies is in `est_server.enrollment.issuance`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.enrollment.channel_binding import channel_binding
from est_server.enrollment.idempotency import Turns, idempotency_key
from est_server.enrollment.issuance import issue_and_record
from est_server.enrollment.key_delivery import delivery_for
from est_server.enrollment.key_generation import (
    KeyGenerator,
    read_keyless,
    require_offered,
    superseding,
)
from est_server.enrollment.one_time_password import one_time_password, secret_attributes
from est_server.enrollment.records import (
    certificate_record,
    decision_record,
    overruled,
    reservation_for,
    unknown_certificate_record,
)
from est_server.enrollment.renewing import other_certificates, renewing_identity
from est_server.enrollment.request import Enrolled, EnrollmentRequest
from est_server.enrollment.review import AGAIN, Reviews, claim_of
from est_server.enrollment.rulebook import Asker
from est_server.enrollment.waiting import PENDING, Polls, ordered_for
from est_server.errors import (
    Conflict,
    Denied,
    EstServerError,
    Pending,
    Unauthenticated,
)
from est_server.ports.ca import IssuanceOrder
from est_server.ports.ephemeral import Budget
from est_server.profiles.decide import decide
from est_server.profiles.decision import RequestFacts
from est_server.wire.change_subject_name import change_subject_name
from est_server.wire.est_body import decode_body
from est_server.wire.pkcs10 import parse_csr, verify_signature

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from est_server.enrollment.rulebook import Rulebook
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger, RequestRecord
    from est_server.ports.orders import OpenOrder
    from est_server.ports.pending import PendingRequest
    from est_server.profiles.decision import Decision, Identity, KeyDelivery
    from est_server.profiles.profile import Profile
    from est_server.wire.pkcs10 import CertificationRequest

REFUSALS_KEPT = Budget(attempts=60, seconds=60)
"""How many refusals of unknown certificates are written down: enough for an operator to see why,
too few to fill a disk."""

_OVERRULES = {"credential.spent", "certificate.revoked", "certificate.held", "key.compromised"}
"""Conflicts that turn an allowed decision into a refusal: they happened since it was made."""


_MOMENT = timedelta(microseconds=1)


class _OutOfUse(Exception):
    """The same question was answered with a certificate that is revoked or over: it is new again.

    Attributes:
        made_at: when it was asked; only what was asked since counts now.
    """

    def __init__(self, made_at: datetime) -> None:
        super().__init__()
        self.made_at = made_at


@dataclass(slots=True)
class EnrollmentService:
    """Issues certificates; the one door to every CA.

    Attributes:
        rulebook: replaced at a reload; a request keeps the one it began with.
        authorities: CAs by their name in server.yaml.
        ledger: the durable record.
        ephemeral: counts.
        clock: the time.
        keys: makes keys for serverkeygen.
    """

    rulebook: Rulebook
    authorities: Mapping[str, CertificateAuthority]
    ledger: Ledger
    ephemeral: Ephemeral
    clock: Clock
    keys: KeyGenerator = field(default_factory=KeyGenerator)
    _turns: Turns = field(default_factory=Turns)

    async def enroll(self, request: EnrollmentRequest) -> Enrolled:
        """Return the certificate for `request`.

        Raises:
            NotFound: no such label.
            Unauthenticated, RateLimited: nobody we know; nothing was changed.
            Malformed: the CSR; nothing was changed.
            Denied: refused by a rule; the decision is recorded and its id is in `decision_id`.
            Pending: somebody has to approve it, or an equal request is under way.
            BackendRejected, BackendUnavailable: the CA or the ledger.
        """
        asker = await self.authenticate(request)
        der = decode_body(request.body, lenient=asker.rulebook.lenient_bodies).der
        made_here = request.operation == "serverkeygen"
        csr = read_keyless(asker.profile, der) if made_here else parse_csr(der)
        return await self.certify(asker, request, csr)

    async def authenticate(self, request: EnrollmentRequest) -> Asker:
        """Return who is asking under which profile; the body is not looked at.

        Raises:
            NotFound, Unauthenticated, RateLimited, Denied: as in `enroll`.
        """
        rulebook = self.rulebook
        profile = rulebook.profile_for(request.label)
        if request.operation == "serverkeygen":
            require_offered(profile)
        try:
            identity = await rulebook.authenticator.identify(profile, request)
        except Unauthenticated as error:
            raise await self._unauthenticated(profile, request, error) from error
        request.trail.identity = identity
        return Asker(rulebook, profile, identity)

    async def certify(
        self,
        asker: Asker,
        request: EnrollmentRequest,
        csr: CertificationRequest,
        *,
        pop_witness: bool = False,
    ) -> Enrolled:
        """Return the certificate for a request that was read: steps 3 to 6.

        Args:
            asker: from `authenticate`.
            request: what was received.
            csr: its PKCS #10 request.
            pop_witness: whether it claims to come from a registrar that verified the proof of
                possession (RFC 5272 6.7).

        Raises:
            Malformed, Denied, Pending, BackendRejected, BackendUnavailable: as in `enroll`.
        """
        rulebook, profile = asker.rulebook, asker.profile
        request.trail.spki = csr.spki or None
        if request.operation != "serverkeygen":  # RFC 7030 4.4.1: its signature means nothing
            verify_signature(csr)
        facts = await self._facts(asker, request, csr, pop_witness=pop_witness)
        key = idempotency_key(profile.name, facts)
        async with self._turns.turn(key):
            if profile.model.attestation is not None:
                result = await rulebook.appraiser.appraise(profile, request, facts, key)
                facts = replace(facts, attestation=result)
            since = self.clock() - rulebook.idempotency_window
            while True:
                try:
                    return await self._decide_and_issue(profile, facts, key, since)
                except _OutOfUse as earlier:
                    since = earlier.made_at + _MOMENT

    async def _facts(
        self,
        asker: Asker,
        request: EnrollmentRequest,
        csr: CertificationRequest,
        *,
        pop_witness: bool,
    ) -> RequestFacts:
        authenticator, profile = asker.rulebook.authenticator, asker.profile
        meaning = profile.model.proof_of_possession.challenge
        request.trail.binding = binding = channel_binding(csr, request.tls, meaning)
        otp, identity = await one_time_password(
            authenticator, profile, request, csr, asker.identity
        )
        doubtful = pop_witness or binding in {"mismatched", "unavailable"}
        return RequestFacts(
            operation=request.operation,
            label=request.label,
            csr=csr,
            identity=await renewing_identity(
                profile, request.operation, identity, csr, self.ledger
            ),
            channel_binding=binding,
            otp=otp,
            registrar=doubtful and await authenticator.is_registrar(request),
            pop_witness=pop_witness,
            key_compromised=await self.ledger.revocations.key_blocked(sha256(csr.spki).digest()),
            change=change_subject_name(csr),
            secret_attributes=secret_attributes(profile),
            delivery=await self._delivery(authenticator.credential_key, request, csr, identity),
        )

    async def _delivery(
        self,
        secret: bytes,
        request: EnrollmentRequest,
        csr: CertificationRequest,
        identity: Identity,
    ) -> KeyDelivery | None:
        if request.operation != "serverkeygen":
            return None
        return await delivery_for(self.ledger, secret, request, csr, identity, self.clock())

    async def _decide_and_issue(
        self, profile: Profile, facts: RequestFacts, key: bytes, window_start: datetime
    ) -> Enrolled:
        now = self.clock()
        device = None
        if profile.model.registration != "none":
            device = await self.ledger.device(facts.identity.name)
        reviews = Reviews(self.ledger)
        review = await reviews.of(profile, facts)
        authority = self.authorities[profile.issuer.name]
        polls, order = Polls(self.ledger, self.clock), None
        if authority.capabilities.may_wait:
            order = await polls.order_of(profile, facts)
        earlier = await self._earlier(key, review, order, facts, window_start)
        facts = replace(
            facts, others=await other_certificates(profile, facts, earlier, self.ledger)
        )
        decision = decide(profile, facts, device, now, review)
        plan = decision.plan
        if plan is None:
            raise await self._denied(facts, decision)
        if earlier is not None and facts.delivery is None:
            return earlier
        if order is not None and order.request.state == "waiting":
            # approved before, if anybody had to: approval is the last gate
            return await self._poll(polls, authority, order)
        if decision.verdict == "pending":
            try:
                raise await reviews.wait(profile, facts, decision, review)
            except Conflict as conflict:
                raise await self._denied(facts, overruled(decision, conflict)) from conflict
        await self._require_unspent(facts, decision)
        made = None
        if facts.delivery is not None:
            made = await self.keys.make(plan, facts.delivery)
            plan, window_start = replace(plan, spki=made.spki), now
            decision = superseding(decision, earlier)
        serial_number = x509.random_serial_number()
        plan = plan.numbered(serial_number, profile.issuer.crl_shards)
        claim = claim_of(profile, facts, review, now)
        made_csr = None if made is None else made.csr
        ordered = ordered_for(authority.capabilities, profile, facts, plan, made_csr)
        reservation = reservation_for(
            profile, facts, device, decision, plan, key, serial_number, claim, ordered
        )
        csr = (made_csr or facts.csr.der) if ordered is None else ordered.csr
        wanted = IssuanceOrder(plan, serial_number, reservation.request.id, csr, now)
        try:
            certificate = await issue_and_record(
                self.ledger,
                authority,
                wanted,
                reservation,
                partial(certificate_record, plan=plan, reservation=reservation),
                window_start=window_start,
                clock=self.clock,
            )
        except Conflict as conflict:
            return await self._lost(conflict, profile, facts, decision, key, window_start)
        key_out = None if made is None else made.delivered
        return Enrolled(certificate, reservation.decision.id, repeated=False, key=key_out)

    async def _poll(
        self, polls: Polls, authority: CertificateAuthority, order: OpenOrder
    ) -> Enrolled:
        try:
            certificate = await polls.again(authority, order)
        except Conflict as conflict:
            raise Pending(PENDING, "it is being asked for", retry_after=AGAIN) from conflict
        return Enrolled(certificate, order.request.decision_id, repeated=False)

    async def _require_unspent(self, facts: RequestFacts, decision: Decision) -> None:
        """Refuse a request whose nonce was its own before, and whose answer is not there."""
        if facts.attestation is not None and facts.attestation.repeated:
            spent = Conflict("nonce.used", "the nonce was used before")
            raise await self._denied(facts, overruled(decision, spent))

    async def _earlier(
        self,
        key: bytes,
        review: PendingRequest | None,
        order: OpenOrder | None,
        facts: RequestFacts,
        since: datetime,
    ) -> Enrolled | None:
        found = await self.ledger.issued(key, since=since)
        found = found or await Reviews(self.ledger).certificate(review, facts, since)
        if found is None and order is not None:
            found = await Polls(self.ledger, self.clock).certificate(order, since)
        if found is None or found.status != "good" or found.der is None:
            return None
        return None if found.not_after <= self.clock() else Enrolled(found, None, repeated=True)

    async def _lost(
        self,
        conflict: Conflict,
        profile: Profile,
        facts: RequestFacts,
        decision: Decision,
        key: bytes,
        window_start: datetime,
    ) -> Enrolled:
        """Answer a request whose reservation lost against another."""
        if conflict.rule in _OVERRULES:
            refusal = overruled(decision, conflict)
            raise await self._denied(facts, refusal) from conflict
        review = await Reviews(self.ledger).of(profile, facts)
        earlier = await self._earlier(key, review, None, facts, window_start)
        if earlier is not None and facts.delivery is None:
            return earlier
        if conflict.rule in {"request.overtaken", "request.state"}:
            raise Pending(conflict.rule, conflict.message, retry_after=AGAIN) from conflict
        holder = await self.ledger.request_by_key(key)
        if holder is not None and await self._out_of_use(holder):
            raise _OutOfUse(holder.created_at) from conflict
        if (unsettled := holder or review) is not None:
            raise Pending(
                f"request.{unsettled.state}",
                "an earlier request for the same certificate is not settled yet",
                retry_after=AGAIN,
            ) from conflict
        raise conflict

    async def _out_of_use(self, request: RequestRecord) -> bool:
        """Tell whether the answer to an equal question was revoked, or has expired."""
        found = await self.ledger.issued(request.idempotency_key, since=request.created_at)
        return found is not None and (found.status == "revoked" or found.not_after <= self.clock())

    async def _denied(self, facts: RequestFacts, decision: Decision) -> Denied:
        record = decision_record(facts, decision)
        await self.ledger.record_decision(record)
        return Denied(
            decision.rule or "decision.denied",
            decision.message,
            decision_id=record.id,
            retry_after=decision.retry_after,
        )

    async def _unauthenticated(
        self, profile: Profile, request: EnrollmentRequest, error: Unauthenticated
    ) -> EstServerError:
        """Keep a trace of a certificate that was refused where no password could help.

        RFC 7030 4.2.3 leaves the status open; a client that can't be offered HTTP Basic gets a
        refusal with its reason, since a 401 without a challenge would be wrong (RFC 9110 11.6.1).
        """
        if any(method.credential for method in profile.model.authenticate):
            return error
        if not request.tls.client_chain:
            return Denied(error.rule, error.message, hint=error.hint)
        if await self.ephemeral.spend("refusals", REFUSALS_KEPT):
            return Denied(error.rule, error.message, hint=error.hint)
        record = unknown_certificate_record(profile, request, error, self.clock())
        await self.ledger.record_decision(record)
        return Denied(error.rule, error.message, hint=error.hint, decision_id=record.id)

"""The enrollment's side of a contract test: a real ledger, real orders, and the books."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from est_server.app.clock import system_clock
from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.issuance import issue_and_record
from est_server.enrollment.records import ordered_certificate
from est_server.enrollment.settling import DEVICE_COMES_WITHIN, Settling, issuance_order
from est_server.enrollment.waiting import Polls
from est_server.pki.authority import signature_hash
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.pki.plan_names import encode_names
from est_server.pki.usages import KEY_USAGES
from est_server.ports.ledger import DecisionRecord, RequestRecord, Reservation
from est_server.ports.orders import OpenOrder, Ordered
from est_server.revocation.upstream import UpstreamRevoker
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger
from est_server.wire.keys import key_algorithm

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from est_server.ports.ca import Capabilities, CertificateAuthority, IssuanceOrder
    from est_server.ports.ledger import CertificateRecord

CA = "ca"
"""The CA's name in every contract test."""

_DAY = timedelta(days=1)
_SKEW = timedelta(minutes=1)
_ATTEMPTS = 12


@dataclass(slots=True)
class MovedClock:
    """The time, and what a test has added to it."""

    ahead: timedelta = field(default_factory=timedelta)

    def __call__(self) -> datetime:
        """Return the time as it is here."""
        return system_clock() + self.ahead


def open_ledger(folder: Path, node: str = "contract") -> SqliteLedger:
    """Open the ledger of a test."""
    upgrade_schema(folder / "ledger.db")
    return SqliteLedger(folder / "ledger.db", node)


@dataclass(slots=True)
class Desk:
    """Issues through one authority, as the server does.

    Attributes:
        ledger: the durable record.
        authority: connected.
        clock: the time.
    """

    ledger: SqliteLedger
    authority: CertificateAuthority
    clock: MovedClock

    def new_order(self) -> OpenOrder:
        """Return an order for a new key, that is not written down yet."""
        now = self.clock().replace(microsecond=0)
        key = generate_key(_algorithm(self.authority.capabilities))
        plan = plan_for(self.authority, key, now)
        request = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(plan.subject)
            .add_extension(
                x509.SubjectAlternativeName(plan.subject_alternative_names), critical=False
            )
            .sign(key, signature_hash(key))
        )
        return _order(plan, request.public_bytes(Encoding.DER), now)

    async def enroll(self, order: OpenOrder | None = None) -> CertificateRecord:
        """Issue for `order`, or a new one, and return the row of the certificate.

        Raises:
            BackendRejected, BackendUnavailable, Pending: as in `issue_and_record`.
        """
        order = order or self.new_order()
        can = self.authority.capabilities
        ours = can.local_key or can.holds_signature
        reservation = Reservation(
            order.request, _decision(order.request), ordered=None if ours else order.ordered
        )
        return await issue_and_record(
            self.ledger,
            self.authority,
            issuance_order(order),
            reservation,
            partial(ordered_certificate, order=order),
            window_start=order.request.created_at - _DAY,
            clock=self.clock,
        )

    async def poll(self, order: OpenOrder) -> CertificateRecord:
        """Come back to an order that waits, once its CA may be asked again."""
        found = await self.ledger.orders.get(order.request.id)
        if found is None:
            raise AssertionError("an order that waits must be in the ledger")
        if found.next_at is not None and found.next_at > self.clock():
            self.clock.ahead += found.next_at - self.clock()
        return await Polls(self.ledger, self.clock).again(self.authority, found)

    async def settle(self, attempts: int = _ATTEMPTS) -> None:
        """Make attempts to learn what became of orders, until none is planned any more."""
        settling = Settling(self.ledger, {CA: self.authority}, self.clock)
        for _ in range(attempts):
            later = self.clock() + _DAY
            due = await self.ledger.orders.due(later, abandoned=later)
            if not due or due[0].next_at is None:
                return
            at = due[0].next_at
            if due[0].request.state == "waiting":
                at += DEVICE_COMES_WITHIN
            self.clock.ahead += max(at - self.clock(), timedelta(0))
            await settling.turn()

    async def written(self, order: OpenOrder) -> IssuanceOrder:
        """Return what a CA is asked for an order, as it is in the ledger."""
        return order_of(await self.ledger.orders.get(order.request.id) or order)

    async def revoke_upstream(self) -> None:
        """Carry the ledger's revocations to the CA."""
        revoker = UpstreamRevoker(self.ledger, self.clock)
        await revoker.turn(CA, self.authority)

    async def state(self, order: OpenOrder) -> str:
        """Return the state of an order's request."""
        found = await self.ledger.request(order.request.id)
        return "none" if found is None else found.state


def plan_for(authority: CertificateAuthority, key: Any, now: datetime) -> CertificatePlan:
    """Return a plan that the authority's capabilities allow."""
    can, name = authority.capabilities, f"device-{secrets.token_hex(4)}"
    lifetime = min(can.longest_lifetime or _DAY, _DAY)
    if can.shortest_lifetime is not None:
        lifetime = can.shortest_lifetime + _DAY
    names: tuple[x509.DNSName, ...] = ()
    if not can.name_kinds or "dns" in can.name_kinds:
        names = (x509.DNSName(f"{name}.contract.example"),)
        name = names[0].value if can.subject == "dns" else name
    subject = [x509.NameAttribute(NameOID.COMMON_NAME, name)] if can.subject != "empty" else []
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string
    if can.extended_key_usages and purpose not in can.extended_key_usages:
        purpose = min(can.extended_key_usages)
    public = key.public_key()
    return CertificatePlan(
        ca=CA,
        subject=x509.Name(subject),
        subject_alternative_names=names,
        spki=public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_algorithm=key_algorithm(public) or "",
        not_before=now - _SKEW,
        not_after=now - _SKEW + lifetime,
        key_usage=tuple(name for name in KEY_USAGES if name in {"digitalSignature", *can.writes}),
        extended_key_usage=tuple(sorted({purpose, *can.writes} - {*KEY_USAGES})),
    )


def _algorithm(can: Capabilities) -> str:
    usual = "EC-P256"
    return usual if not can.device_keys or usual in can.device_keys else min(can.device_keys)


def _order(plan: CertificatePlan, csr: bytes, now: datetime) -> OpenOrder:
    request = RequestRecord(
        id=new_identifier("r", now),
        state="reserved",
        idempotency_key=secrets.token_bytes(32),
        operation="simpleenroll",
        label=None,
        profile="contract",
        identity="contract",
        device_id=None,
        credential_id=None,
        decision_id=new_identifier("d", now),
        ca=CA,
        serial_number=x509.random_serial_number(),
        spki_sha256=sha256(plan.spki).digest(),
        csr=csr,
        plan=plan.as_json(),
        created_at=now,
        updated_at=now,
    )
    return OpenOrder(request, Ordered(csr, encode_names(plan)), None, 0, None, "")


def _decision(request: RequestRecord) -> DecisionRecord:
    return DecisionRecord(
        id=request.decision_id,
        request_id=request.id,
        at=request.created_at,
        operation=request.operation,
        label=None,
        profile=request.profile,
        profile_digest="",
        identity=request.identity,
        device_id=None,
        verdict="allow",
        rule=None,
        message="a contract test",
        trace="{}",
        csr=request.csr,
        ca=request.ca,
        serial_number=request.serial_number,
    )


def order_of(order: OpenOrder) -> IssuanceOrder:
    """Return what a CA is asked for an order."""
    return issuance_order(order)

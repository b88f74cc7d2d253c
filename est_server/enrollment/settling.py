"""What became of an order whose CA gave no answer: found out, by itself where that is possible.

1. a CA that can look an order up (`LooksUp`) is asked: its certificate is recorded, and what it is
   certain not to have issued frees the request
2. a CA that repeats its answer (`Capabilities.repeats_for`) gets the same order again, while the
   first question is surely not forgotten
3. nobody can tell: the request stays parked until a person says what happened

Attempts are planned in the ledger, farther apart each time; one process makes each. The device that
asks again gets what was found; a certificate for a key that was made here and is gone goes to
nobody, and is revoked.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from est_server.enrollment.asking import ACTOR, Asking, pause
from est_server.enrollment.records import ordered_certificate
from est_server.errors import BackendRejected, BackendUnavailable, Conflict, Pending
from est_server.pki.plan_names import decode_plan
from est_server.ports.ca import IssuanceOrder
from est_server.ports.revocation import Revocation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.ca import CertificateAuthority, LooksUp
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import CertificateRecord, Ledger
    from est_server.ports.orders import OpenOrder

_ANSWER_TAKES = timedelta(seconds=30)
"""An order that is sent again has to arrive before the CA forgets the first one."""

DEVICE_COMES_WITHIN = timedelta(minutes=10)
"""How long a device may be late before somebody else asks what its CA decided."""

log = structlog.get_logger("ca")


@dataclass(frozen=True, slots=True)
class Settling:
    """Finds out what became of orders.

    Attributes:
        ledger: the durable record.
        authorities: the CAs that can be asked now; orders of others wait.
        clock: the time.
    """

    ledger: Ledger
    authorities: Mapping[str, CertificateAuthority]
    clock: Clock

    async def turn(self) -> int:
        """Make every attempt that is due; return how many requests were settled."""
        settled, now = 0, self.clock()
        for order in await self.ledger.orders.due(now, abandoned=now - DEVICE_COMES_WITHIN):
            if (authority := self.authorities.get(order.request.ca)) is None:
                continue
            try:
                if order.request.state == "waiting":
                    settled += await self._collect(authority, order)
                    continue
                until = self.clock() + pause(order.attempts + 1) + _ANSWER_TAKES
                if await self.ledger.orders.take(order, until=until):
                    settled += await self.settle(authority, order)
            except Conflict:
                continue  # its own process, another one or a person came first
            except Exception:
                log.exception("ca.failed", ca=order.request.ca, request=order.request.id)
        return settled

    async def settle(self, authority: CertificateAuthority, order: OpenOrder) -> bool:
        """Make one attempt; tell whether the outcome is known now.

        Raises:
            Conflict: ``request.state``: somebody else has settled it meanwhile.
        """
        can = authority.capabilities
        asking = Asking(self.ledger, authority, self.clock)
        try:
            if can.looks_up:
                made = await self._find(asking, order)
            elif self.clock() + _ANSWER_TAKES < order.request.created_at + can.repeats_for:
                made = await asking.ask(
                    issuance_order(order),
                    order.request,
                    partial(ordered_certificate, order=order),
                    state="parked",
                    attempts=order.attempts + 1,
                )
            else:
                await self._leave(order)
                return False
        except BackendUnavailable:
            return False  # the next attempt is planned
        except (BackendRejected, Pending):
            return True  # written down where it was noticed
        if made is not None:
            log.info("request.found", ca=made.ca, request=made.request_id)
            await self._nobodys(order, made)
        return True

    async def _collect(self, authority: CertificateAuthority, order: OpenOrder) -> bool:
        """Ask about a request that waits at its CA, since its device does not.

        What the CA has decided by now is in the ledger then, whether anybody fetches it or not.

        Raises:
            Conflict: ``request.state``: the device came back just now.
        """
        await self.ledger.orders.ask(order.request.id, at=self.clock())
        asking = Asking(self.ledger, authority, self.clock)
        record = partial(ordered_certificate, order=order)
        try:
            await asking.ask(issuance_order(order), order.request, record, state="waiting")
        except (Pending, BackendUnavailable):
            return False
        except BackendRejected:
            return True
        log.info("request.found", ca=order.request.ca, request=order.request.id)
        return True

    async def _find(self, asking: Asking, order: OpenOrder) -> CertificateRecord | None:
        """Look the order up; without a certificate, its request is free."""
        wanted, request = issuance_order(order), order.request
        try:
            found = await cast("LooksUp", asking.authority).find(wanted)
        except BackendUnavailable as error:
            await asking.park(request.id, str(error), order.attempts + 1)
            raise
        if found is not None:
            record = partial(ordered_certificate, order=order)
            return await asking.take(wanted, request, found, record)
        reason = "the CA has issued nothing for it"
        await self.ledger.orders.reject(request.id, reason=reason, at=self.clock())
        log.info("request.not-issued", ca=request.ca, request=request.id)
        return None

    async def _leave(self, order: OpenOrder) -> None:
        """Leave a request to a person."""
        request = order.request
        await self.ledger.orders.park(
            request.id, reason=order.reason, next_at=None, at=self.clock()
        )
        log.error(
            "request.parked",
            ca=request.ca,
            request=request.id,
            reason=order.reason,
            hint=f"est-server request show {request.id}",
        )

    async def _nobodys(self, order: OpenOrder, made: CertificateRecord) -> None:
        """Revoke a certificate whose key was made here, for an answer that is lost."""
        if order.request.operation != "serverkeygen":
            return
        revocation = Revocation(
            made.ca,
            made.serial_number,
            "cessationOfOperation",
            self.clock(),
            ACTOR,
            note="its key was made here and is gone",
        )
        await self.ledger.revocations.revoke([revocation])


def issuance_order(order: OpenOrder) -> IssuanceOrder:
    """Return the order as its CA was asked, from what is durable."""
    request = order.request
    return IssuanceOrder(
        plan=decode_plan(request.plan, order.ordered.names),
        serial_number=request.serial_number,
        idempotency_token=request.id,
        csr=order.ordered.csr,
        ordered_at=request.created_at,
        ticket=order.ticket,
    )

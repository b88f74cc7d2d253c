"""Carries the ledger's revocations to the CAs that made the certificates.

The ledger decides: what is revoked here is refused here at once, whatever a CA elsewhere says. The
CA is told as well, so that its own lists and responders say the same. A hold is not carried there,
since many CAs could not take it back; a revocation that follows it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import structlog
from cryptography import x509

from est_server.errors import BackendRejected
from est_server.pki.check import signed_by
from est_server.ports.upstream import UpstreamRefusal

if TYPE_CHECKING:
    from est_server.ports.ca import CertificateAuthority, Revokes
    from est_server.ports.clock import Clock
    from est_server.ports.ledger import Ledger
    from est_server.ports.revocation import RevocationEvent

_PAGE = 100

log = structlog.get_logger("ca")


@dataclass(frozen=True, slots=True)
class UpstreamRevoker:
    """Follows the events for CAs that can revoke.

    Attributes:
        ledger: events, certificates and cursors.
        clock: the time.
    """

    ledger: Ledger
    clock: Clock

    async def turn(self, ca: str, authority: CertificateAuthority) -> int:
        """Carry out what is due at one CA; return how many certificates it revoked.

        The cursor moves behind each event that is done with. After a crash, or beside another
        process, a revocation may be asked for twice, which changes nothing at the CA.

        Raises:
            BackendUnavailable: the CA; the event stays due.
        """
        carried = 0
        position = await self.ledger.upstream.position(ca)
        while events := await self.ledger.revocations.events(after=position, limit=_PAGE):
            for event in events:
                if event.ca != ca:
                    continue
                refusal = None
                try:
                    carried += await self._carry(event, authority)
                except BackendRejected as error:
                    refusal = self._refused(event, error)
                if not await self._advance(ca, position, event.sequence, refusal):
                    return carried  # another process is at it
                position = event.sequence
            last = events[-1].sequence
            if last != position and not await self._advance(ca, position, last, None):
                return carried
            position = last
        return carried

    async def _advance(self, ca: str, seen: int, to: int, refusal: UpstreamRefusal | None) -> bool:
        return await self.ledger.upstream.advance(ca, seen=seen, to=to, refusal=refusal)

    async def _carry(self, event: RevocationEvent, authority: CertificateAuthority) -> bool:
        """Revoke at the CA what the event revoked here; tell whether there was anything to do.

        Raises:
            BackendRejected, BackendUnavailable: the CA.
        """
        if event.action != "revoked" or event.reason is None:
            return False
        row = await self.ledger.certificate(event.ca, event.serial_number)
        if row is None or row.der is None:
            return False  # nobody has seen it
        certificate = x509.load_der_x509_certificate(row.der)
        known = authority.certificates()
        if not any(signed_by(certificate, issuer) for issuer in (known.issuer, *known.others)):
            return False  # it answered with what it did not sign; the number is another's there
        await cast("Revokes", authority).revoke(certificate, event.reason)
        await self.ledger.upstream.forget_refusal(event.ca, event.serial_number)
        log.info("ca.revoked", ca=event.ca, serial=f"{event.serial_number:x}")
        return True

    def _refused(self, event: RevocationEvent, error: BackendRejected) -> UpstreamRefusal:
        serial = f"{event.serial_number:x}"
        log.error(
            "ca.revocation-refused",
            ca=event.ca,
            serial=serial,
            reason=str(error),
            hint="revoke it at the CA by hand",
        )
        return UpstreamRefusal(
            event.ca, event.serial_number, event.sequence, str(error), self.clock()
        )

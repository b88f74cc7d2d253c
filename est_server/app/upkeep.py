"""What has to be done for CAs again and again: health, open orders, revocations to carry there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from est_server.app.clock import system_clock
from est_server.app.periodic import Periodic
from est_server.enrollment.reconcile import forget_silent, reconcile
from est_server.enrollment.settling import Settling
from est_server.errors import BackendUnavailable
from est_server.ports.ca import Health
from est_server.revocation.upstream import UpstreamRevoker
from est_server.web import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from est_server.app.authorities import Authorities
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ledger import Ledger

_RECONCILE_SECONDS = 10.0
_SETTLE_SECONDS = 1.0
_HEALTH_SECONDS = 60.0
_UPSTREAM_SECONDS = 1.0
_COUNT_SECONDS = 10.0
_LONGEST_PAUSE = timedelta(minutes=1)

log = structlog.get_logger("ca")


@dataclass(slots=True)
class CaUpkeep:
    """The CAs' side of a server process.

    Attributes:
        ledger: the durable record.
        cas: the CAs.
        health: what `/readyz` says of each.
    """

    ledger: Ledger
    cas: Authorities
    health: dict[str, Health] = field(default_factory=dict)
    _pauses: dict[str, tuple[timedelta, datetime]] = field(default_factory=dict)

    def works(self, *, health_only: bool) -> tuple[Periodic, ...]:
        """Return what has to be done again and again.

        Args:
            health_only: whether another process settles what is open at CAs.
        """
        health = Periodic("health", _HEALTH_SECONDS, self.check_health)
        if health_only:
            return (health,)
        return (
            health,
            Periodic("reconcile", _RECONCILE_SECONDS, self.reconcile),
            Periodic("settle", _SETTLE_SECONDS, self._settle),
            Periodic("revoke upstream", _UPSTREAM_SECONDS, self._revoke_upstream),
            Periodic("count orders", _COUNT_SECONDS, self._count),
        )

    async def reconcile(self) -> None:
        """Settle what processes that are gone left behind."""
        presumed, parked = await reconcile(self.ledger, self.cas.open, system_clock)
        if presumed or parked:
            log.warning("ledger.reconciled", presumed=presumed, parked=parked)
        await forget_silent(self.ledger, system_clock)

    async def check_health(self) -> None:
        """Ask every CA how it is, and say of the broken ones why they are."""
        for name, error in self.cas.broken.items():
            mend = "" if error.hint is None else f"; {error.hint}"
            self.health[name] = Health(ok=False, detail=f"{error.message}{mend}")
            metrics.CA_HEALTH.labels(name).set(0)
        for name, authority in [*self.cas.open.items()]:
            found = await authority.health()
            self.health[name] = found
            metrics.CA_HEALTH.labels(name).set(found.ok)
            end = authority.certificates().issuer.not_valid_after_utc
            metrics.ISSUER_NOT_AFTER.labels(name).set(end.timestamp())
            if not found.ok:
                log.error("ca.unhealthy", ca=name, detail=found.detail)

    async def _settle(self) -> None:
        await Settling(self.ledger, self.cas.open, system_clock).turn()

    async def _revoke_upstream(self) -> None:
        revoker = UpstreamRevoker(self.ledger, system_clock)
        for name, authority in self._that_revoke():
            pause, until = self._pauses.get(name, (timedelta(seconds=1), system_clock()))
            if until > system_clock():
                continue
            try:
                await revoker.turn(name, authority)
            except BackendUnavailable as error:
                log.warning("ca.not-revoking", ca=name, rule=error.rule, hint=error.hint)
                self._pauses[name] = (min(pause * 2, _LONGEST_PAUSE), system_clock() + pause)
            else:
                self._pauses.pop(name, None)

    async def _count(self) -> None:
        """Tell how many requests wait for CAs or people, and what revocations are behind."""
        counts = await self.ledger.orders.counts()
        for name in self.cas.configuration.ca_settings:
            for state in ("waiting", "unknown", "refused"):
                metrics.CA_ORDERS.labels(name, state).set(counts.get((name, state), 0))
        last = await self.ledger.revocations.last_event()
        refused = [one.ca for one in await self.ledger.upstream.refusals(limit=1000)]
        for name, _ in self._that_revoke():
            done = await self.ledger.upstream.position(name)
            behind = 0 if last is None else last.sequence - done
            metrics.CA_REVOCATIONS_BEHIND.labels(name).set(behind)
            metrics.CA_REVOCATIONS_REFUSED.labels(name).set(refused.count(name))

    def _that_revoke(self) -> Iterator[tuple[str, CertificateAuthority]]:
        for name, authority in [*self.cas.open.items()]:
            if authority.capabilities.revokes:
                yield name, authority

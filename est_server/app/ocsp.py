"""OCSP, put together: responders, memory, the follower of events, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from est_server.app.clock import system_clock
from est_server.app.periodic import Periodic
from est_server.config.roles import EVERYTHING, keyless
from est_server.enrollment.responder import issue_responder
from est_server.errors import EstServerError
from est_server.ports.ephemeral import REVOCATIONS
from est_server.revocation.follower import POLL_SECONDS, EventFollower
from est_server.revocation.ocsp import CaAnswers, OcspService
from est_server.revocation.ocsp_memory import AnswerMemory, Lease
from est_server.revocation.ocsp_policy import OcspPolicy
from est_server.revocation.ocsp_responder import Responder
from est_server.revocation.ocsp_shared import ReadResponder, SharingResponder
from est_server.web import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.config.configuration import Configuration
    from est_server.config.roles import Role
    from est_server.pki.plan import CertificatePlan
    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.ports.revocation import RevocationEvent
    from est_server.ports.rollover import Rollover
    from est_server.web.ocsp_known import KnownRequests

_REFRESH_SECONDS = 0.25
_REFRESH_WITHIN = 0.01  # seconds of a turn, so that requests are not held up
_RESPONDER_SECONDS = 30.0

log = structlog.get_logger("ocsp")


def ocsp_policy(
    configuration: Configuration, name: str, authority: CertificateAuthority
) -> OcspPolicy | None:
    """Return how a CA's status requests are answered here; None: they are not.

    Without a section of its own, a CA whose key is here is answered for; any other may have a
    responder already, and may not issue another.
    """
    server = configuration.server
    if server.listeners.public is None:
        return None
    section, archive = server.cas[name].ocsp, server.retention.certificates
    if section is None:
        return OcspPolicy(archive=archive) if authority.capabilities.local_key else None
    return replace(section.policy(), archive=archive) if section.enabled else None


@dataclass(slots=True)
class Ocsp:
    """OCSP in this process.

    Attributes:
        service: answers.
        follower: keeps memory true.
        roles: of this process.
        known: the listener's requests, once there is a listener.
    """

    service: OcspService
    follower: EventFollower
    roles: frozenset[Role] = EVERYTHING
    known: KnownRequests | None = None
    _followed: bool = field(default=True)

    async def start(self) -> None:
        """Look at the events once, and make the responders of the CAs whose keys are here."""
        await self._look()
        await self._renew(local_only=True)

    def follow(
        self,
        configuration: Configuration,
        authorities: Mapping[str, CertificateAuthority],
        rollovers: Sequence[Rollover],
    ) -> None:
        """Answer for every CA that has OCSP, successors of rollovers too; none is ever dropped.

        What a retired CA issued is still asked about until it has expired.
        """
        origin = {rollover.successor: rollover.ca for rollover in rollovers}
        service, make = self.service, self._responders(configuration)

        async def issue(
            authority: CertificateAuthority,
            plan: CertificatePlan,
            key: CertificateIssuerPrivateKeyTypes,
        ) -> x509.Certificate:
            return await issue_responder(service.ledger, authority, plan, key, system_clock)

        for name, authority in authorities.items():
            if (known := service.cas.get(name)) is not None:
                known.responder.authority = authority
                continue
            policy = ocsp_policy(configuration, origin.get(name, name), authority)
            if policy is None:
                continue
            responder = make(name, authority, policy, system_clock, issue)
            ca = CaAnswers(responder, AnswerMemory(service.lease))
            service.add(name, ca)
            self.follower.followers[name] = ca.follows()

    def _responders(self, configuration: Configuration) -> Callable[..., Responder]:
        """Return what makes the responders of a process of these roles."""
        public, ledger = configuration.server.listeners.public, self.service.ledger
        secret = None if public is None else public.responder_passphrase
        passphrase = None if secret is None else secret.read(configuration.base)
        if keyless(self.roles):
            return partial(ReadResponder, ledger=ledger, passphrase=passphrase)
        if passphrase is None or "publisher" not in self.roles:
            return Responder
        return partial(SharingResponder, ledger=ledger, passphrase=passphrase)

    def works(self, ephemeral: Ephemeral) -> tuple[Periodic, ...]:
        """Return what has to be done again and again, and sooner when a revocation is told."""
        return (
            Periodic("ocsp-follow", POLL_SECONDS, self._look, ephemeral.wakes(REVOCATIONS)),
            Periodic("ocsp-refresh", _REFRESH_SECONDS, self._refresh),
            Periodic("ocsp-responders", _RESPONDER_SECONDS, self._renew),
        )

    async def _look(self) -> None:
        followed = True
        try:
            await self.follower.look()
        except EstServerError as error:
            followed = False
            if self._followed:  # five lines a second help nobody
                log.error("ocsp.not-following", rule=error.rule, hint=error.hint)  # noqa: TRY400 - its hint says more than a traceback
        if followed and not self._followed:
            log.info("ocsp.following")
        self._followed = followed
        metrics.OCSP_TRUSTED.set(self.service.lease.trusted())

    async def _refresh(self) -> None:
        if self.known is not None:
            self.known.count()
        await self.service.refresh(_REFRESH_WITHIN)
        for name, ca in self.service.cas.items():
            metrics.OCSP_ANSWERS.labels(name).set(len(ca.memory))

    async def _renew(self, *, local_only: bool = False) -> None:
        for name, ca in self.service.cas.items():
            responder = ca.responder
            if local_only and not responder.authority.capabilities.local_key:
                continue
            try:
                await responder.renew()
            except EstServerError as error:
                log.error("ocsp.responder", ca=name, rule=error.rule, hint=error.hint)  # noqa: TRY400 - as above
            if (certificate := responder.certificate) is not None:
                end = certificate.not_valid_after_utc
                metrics.OCSP_RESPONDER_NOT_AFTER.labels(name).set(end.timestamp())


def open_ocsp(ledger: Ledger, roles: frozenset[Role] = EVERYTHING) -> Ocsp:
    """Return OCSP for no CA yet; `Ocsp.follow` brings them."""
    lease = Lease()
    follower = EventFollower(ledger.revocations, lease, notice=_noticed)
    return Ocsp(OcspService(ledger, lease, system_clock), follower, roles)


def _noticed(event: RevocationEvent) -> None:
    metrics.OCSP_PROPAGATION.observe((system_clock() - event.at).total_seconds())

"""One server process, from its start to its stop."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.app.authorities import Authorities
from est_server.app.clock import system_clock
from est_server.app.crls import open_crls
from est_server.app.followers import Followers
from est_server.app.listeners import (
    TlsIdentity,
    cms_signer,
    key_signer,
    listen,
    pages_of,
    proxies_of,
    tls_context,
    tls_identity,
)
from est_server.app.node import Node
from est_server.app.ocsp import open_ocsp
from est_server.app.parts import (
    ready_ledger,
    rulebook_of,
)
from est_server.app.periodic import Periodic, running
from est_server.app.upkeep import CaUpkeep
from est_server.config.configuration import load
from est_server.config.logs import configure_logs
from est_server.enrollment.service import EnrollmentService
from est_server.enrollment.supersede import supersede_due
from est_server.errors import BackendUnavailable, ConfigurationError, EstServerError
from est_server.revocation.feed import POLL_SECONDS as FEED_SECONDS
from est_server.revocation.feed import Feed
from est_server.rollover.lifecycle import VISIBLE
from est_server.rollover.publication import summary
from est_server.storage import open_ephemeral
from est_server.web import metrics
from est_server.web.admin import AdminEndpoint
from est_server.web.est import EstEndpoint
from est_server.web.feed import FeedEndpoint
from est_server.web.http import HttpLimits
from est_server.web.ocsp import OcspEndpoint
from est_server.web.ocsp_fast import FastOcsp
from est_server.web.ocsp_known import KnownRequests
from est_server.web.tls import ServerTls
from est_server.web.validation import ValidationEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from est_server.config.configuration import Configuration
    from est_server.config.server import ServerModel
    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import Rollover

_HEARTBEAT_SECONDS = 5.0
_REVIEW_SECONDS = 10.0
_SUPERSEDE_SECONDS = 5.0
_FOLLOW_SECONDS = 1.0
_OBJECTS_BETWEEN_COLLECTIONS = 20_000

log = structlog.get_logger("server")


class Server:
    """One server process."""

    def __init__(self, path: Path, *, migrate: bool) -> None:
        self._path = path
        self._configuration = load(path)
        server = self._configuration.server
        configure_logs(server.log.level, server.log.format)
        self._cas = Authorities(self._configuration, logs=True)
        self._authorities = self._cas.open
        node = Node.new_name()
        self._ledger = ready_ledger(self._configuration, migrate=migrate, node=node)
        self._ephemeral = open_ephemeral(server.state.ephemeral)
        self._upkeep = CaUpkeep(self._ledger, self._cas)
        self._node = Node(node, self._ledger, self._configuration.digest)
        limits = server.limits
        self._limits = HttpLimits(
            body=limits.body,
            body_timeout=limits.body_timeout.total_seconds(),
            idle_timeout=limits.idle_timeout.total_seconds(),
        )
        # no CA is open yet: `_follow` brings them before anybody is listened to
        rulebook = rulebook_of(
            self._configuration,
            self._authorities,
            self._ledger,
            self._ephemeral,
            unavailable=self._unavailable(()),
        )
        service = EnrollmentService(
            rulebook, self._authorities, self._ledger, self._ephemeral, system_clock
        )
        pages = pages_of(rulebook, self._authorities)
        proxies = proxies_of(server.listeners.est)
        self._followers = Followers(service)
        self._est = EstEndpoint(
            service, pages, self._limits, server.realm, self._followers.fetched, proxies
        )
        self._rollovers: tuple[Rollover, ...] = ()
        self._certificates: dict[str, CaCertificates] | None = None
        identity = self._identity("est", self._configuration, ())
        service.keys.signer = key_signer(identity, rulebook)
        self._est.full_cmc.signer = cms_signer(identity)
        self._tls = ServerTls(tls_context(identity, ask=True))
        self._admin_tls = ServerTls(
            tls_context(self._identity("admin", self._configuration, ()), ask=False)
        )
        self._issuers: dict[str, bytes] = {}
        self._ocsp = open_ocsp(self._ledger)
        self._crls = open_crls(self._configuration, self._authorities, self._ledger)
        streams = 0 if server.listeners.public is None else server.listeners.public.feed_streams
        self._feed = FeedEndpoint(Feed(self._ledger.revocations), self._crls.described, streams)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
        loop = asyncio.get_running_loop()
        stopping, hangup = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._node.leave)
            await self._node.report()  # before the first reservation: whose it is must be known
            await self._follow()
            await self._upkeep.reconcile()
            await self._remember()
            await self._crls.start()
            await self._ocsp.start()
            await self._feed.turn()
            await self._listen(stack)
            self._announce()
            _collect_less()
            async with running(self._works()):
                while not stopping.is_set():
                    await _first(stopping, hangup)
                    if hangup.is_set():
                        hangup.clear()
                        await self._reload()
            await self._followers.flush()
        await self._cas.close()
        await self._ephemeral.close()
        await self._ledger.close()
        log.info("server.stopped")

    def _works(self) -> tuple[Periodic, ...]:
        return (
            Periodic("heartbeat", _HEARTBEAT_SECONDS, self._node.report),
            *self._upkeep.works(),
            Periodic("review queue", _REVIEW_SECONDS, self._check_reviews),
            Periodic("follow", _FOLLOW_SECONDS, self._follow),
            Periodic("followers", _FOLLOW_SECONDS, self._followers.flush),
            Periodic("supersede", _SUPERSEDE_SECONDS, self._supersede),
            *self._crls.works(),
            *self._ocsp.works(),
            Periodic("feed", FEED_SECONDS, self._feed.turn),
        )

    async def _listen(self, stack: AsyncExitStack) -> None:
        listeners = self._configuration.server.listeners
        limits = self._limits
        seconds = self._configuration.server.limits.handshake_timeout.total_seconds()
        await listen(stack, listeners.est.listen, self._est.handle, limits, (self._tls, seconds))
        if listeners.public is not None:
            ocsp = OcspEndpoint(self._ocsp.service, limits, system_clock)

            def before(others: Callable[[], asyncio.Protocol]) -> FastOcsp:
                self._ocsp.known = KnownRequests(ocsp, self._ocsp.service.lease)
                return FastOcsp(self._ocsp.known, others, limits.idle_timeout)

            crls = self._crls.endpoint()
            public = ValidationEndpoint(self._issuers, crls, ocsp, self._feed).handle
            await listen(stack, listeners.public.listen, public, limits, before=before)
            stack.callback(self._feed.close)  # first of all: streams would use up the grace
        admin = AdminEndpoint(self._ledger, self._upkeep.health)
        tls = (self._admin_tls, seconds)
        await listen(stack, listeners.admin.listen, admin.handle, limits, tls)

    def _announce(self) -> None:
        for problem in self._configuration.warnings:
            log.warning("config.warning", code=problem.code, at=str(problem.position),
                        message=problem.message)  # fmt: skip
        listeners = self._configuration.server.listeners
        log.info(
            "server.ready",
            est=listeners.est.listen,
            public=None if listeners.public is None else listeners.public.listen,
            admin=listeners.admin.listen,
            profiles=sorted(self._configuration.profiles),
            config=self._configuration.digest[:12],
            pid=os.getpid(),
        )

    def _identity(
        self,
        listener: Literal["est", "admin"],
        configuration: Configuration,
        rollovers: Sequence[Rollover],
    ) -> TlsIdentity:
        wanted = getattr(configuration.server.listeners, listener)
        return tls_identity(wanted, configuration.base, self._authorities, rollovers)

    async def _follow(self) -> None:
        """Do what the ledger says about rollovers, and what CAs that open or change make of it.

        Raises:
            ConfigurationError: at the start, a CA can't do what the configuration says of it.
        """
        rollovers = tuple(await self._ledger.rollovers.all())
        opened = await self._cas.connect(rollovers)
        found = self._to_follow(rollovers)
        certificates = self._cas.certificates()
        if found == self._rollovers and certificates == self._certificates:
            return
        before = self._certificates
        try:
            await self._followed(found)
        except ConfigurationError as error:
            if before is None:
                raise
            self._cas.refuse(opened, error)
            return
        self._certificates = certificates
        if before is None or before.keys() != certificates.keys():
            await self._upkeep.check_health()

    def _to_follow(self, found: Sequence[Rollover]) -> tuple[Rollover, ...]:
        """Return the rollovers as far as they can be followed.

        While a CA works, everything about it stays as it is until its successor is open.
        """
        held = {
            one.ca
            for one in found
            if one.state in VISIBLE
            and one.successor not in self._authorities
            and one.ca in (self._certificates or {})
        }
        followed = [
            *(one for one in found if one.ca not in held),
            *(one for one in self._rollovers if one.ca in held),
        ]
        followed = [replace(one, anonymous_fetches=0) for one in followed]
        return tuple(sorted(followed, key=lambda one: (one.ca, one.generation)))

    def _unavailable(self, rollovers: Sequence[Rollover]) -> dict[str, BackendUnavailable]:
        found = {ca: self._cas.unavailable(ca, rollovers) for ca in self._configuration.ca_settings}
        return {ca: error for ca, error in found.items() if error is not None}

    async def _followed(self, found: tuple[Rollover, ...]) -> None:
        known = self._authorities
        rulebook = rulebook_of(
            self._configuration,
            known,
            self._ledger,
            self._ephemeral,
            found,
            self._unavailable(found),
        )
        pages = pages_of(rulebook, known, found)
        await self._crls.follow(open_crls(self._configuration, known, self._ledger, found))
        est = self._identity("est", self._configuration, found)
        admin = self._identity("admin", self._configuration, found)
        key_maker, signer = key_signer(est, rulebook), cms_signer(est)
        # nothing fails from here on
        self._est.service.rulebook = rulebook
        self._est.service.keys.signer = key_maker
        self._est.full_cmc.signer = signer
        self._est.pages = pages
        self._tls.replace(tls_context(est, ask=True))
        self._admin_tls.replace(tls_context(admin, ask=False))
        self._issuers.update(
            {
                name: authority.certificates().issuer.public_bytes(Encoding.DER)
                for name, authority in known.items()
            }
        )
        self._ocsp.follow(self._configuration, known, found)
        self._followers.follow(found)
        self._rollovers = found
        self._node.rollovers = summary(found)
        if found:
            log.info("rollover.followed", rollovers=self._node.rollovers)
            await self._node.report()

    async def _reload(self) -> None:
        """Swap profiles, trust and the TLS certificate, or keep everything as it is."""
        self._node.reloads += 1
        try:
            fresh = load(self._path)
            before, after = self._configuration.server, fresh.server
            if _until_restart(before) != _until_restart(after):
                raise BackendUnavailable(
                    "reload.restart",
                    "cas, state and listeners.public.url take effect with a restart only",
                )
            rulebook = rulebook_of(
                fresh,
                self._authorities,
                self._ledger,
                self._ephemeral,
                self._rollovers,
                self._unavailable(self._rollovers),
            )
            pages = pages_of(rulebook, self._authorities, self._rollovers)
            identity = self._identity("est", fresh, self._rollovers)
            context = tls_context(identity, ask=True)
            key_maker = key_signer(identity, rulebook)
            signer = cms_signer(identity)
        except (ConfigurationError, EstServerError, OSError) as error:
            self._node.reload_error = str(error)
            metrics.RELOAD_SUCCESS.set(0)
            log.error("config.kept", error=str(error), config=self._configuration.digest[:12])  # noqa: TRY400 - the text is the configuration's, a traceback says nothing
        else:
            self._configuration = fresh
            self._est.service.rulebook = rulebook
            self._est.service.keys.signer = key_maker
            self._est.pages = pages
            self._est.full_cmc.signer = signer
            self._est.realm = after.realm
            self._est.proxies = proxies_of(after.listeners.est)
            self._tls.replace(context)
            self._node.reload_error = None
            self._node.config_digest = fresh.digest
            await self._remember()
            log.info("config.reloaded", config=fresh.digest[:12])
        await self._node.report()

    async def _remember(self) -> None:
        """Keep the texts of profiles and policies, so that old decisions stay readable."""
        profiles = self._est.service.rulebook.profiles.values()
        texts = {profile.digest: (profile.name, profile.text) for profile in profiles}
        policies = self._est.service.rulebook.appraiser.policies.values()
        texts |= {policy.digest: (policy.name, policy.text) for policy in policies}
        await self._ledger.remember_profiles(texts, at=system_clock())
        metrics.RELOAD_SUCCESS.set(1)
        metrics.RELOAD_TIME.set_to_current_time()

    async def _check_reviews(self) -> None:
        """Let pending requests and kept evidence expire, and tell how many wait and how long."""
        now = system_clock()
        if expired := await self._ledger.pending.expire(now):
            log.info("requests.expired", count=expired)
        if forgotten := await self._ledger.appraisals.forget_evidence(now):
            log.info("evidence.forgotten", count=forgotten)
        queue = await self._ledger.pending.queue()
        metrics.PENDING_REQUESTS.set(queue.waiting)
        age = 0.0 if queue.oldest is None else (now - queue.oldest).total_seconds()
        metrics.PENDING_OLDEST.set(age)

    async def _supersede(self) -> None:
        if revoked := await supersede_due(self._ledger, system_clock):
            log.info("certificates.superseded", revoked=revoked)


def _until_restart(server: ServerModel) -> tuple[object, ...]:
    """Return what a reload must not change: certificates and lists say the same of the URL."""
    public = server.listeners.public
    return server.cas, server.state, None if public is None else public.url


async def _first(*events: asyncio.Event) -> None:
    """Return when one of the events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def _collect_less() -> None:
    """Let the garbage collector look at some dozens of requests at once.

    By default it looks twice during each enrollment, which makes hundreds of objects and hardly a
    cycle among them, and now and then at all that the start made, which stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, 10, 10)


def serve(path: Path, *, migrate: bool = False) -> None:
    """Run a server until it is told to stop.

    Raises:
        ConfigurationError: the configuration can't be used.
        BackendUnavailable: a CA, the ledger or a certificate can't be opened.
    """

    async def main() -> None:
        await Server(path, migrate=migrate).run()

    asyncio.run(main())

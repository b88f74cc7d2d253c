"""One server process, from its start to its stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import structlog

from est_server.app.audit import AuditKeeper
from est_server.app.authorities import Authorities
from est_server.app.chores import Chores
from est_server.app.clock import system_clock
from est_server.app.est import EstSide
from est_server.app.following import to_follow
from est_server.app.listeners import tls_context, tls_identity
from est_server.app.listening import ALONE, SHARED, Listening
from est_server.app.node import Node
from est_server.app.parts import ledger_to_read, ready_ephemeral, ready_ledger
from est_server.app.periodic import Periodic, running
from est_server.app.process import collect_less, first_of
from est_server.app.public import PublicSide
from est_server.app.sockets import bind
from est_server.app.upkeep import CaUpkeep
from est_server.config.configuration import load
from est_server.config.logs import configure_logs
from est_server.config.roles import EVERYTHING, LISTENERS, ROLES, keyless, listeners_of
from est_server.errors import BackendUnavailable, ConfigurationError, EstServerError
from est_server.rollover.publication import summary
from est_server.web import metrics
from est_server.web.admin import AdminEndpoint
from est_server.web.http import HttpLimits
from est_server.web.tls import ServerTls

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from est_server.app.worker import Inheritance
    from est_server.config.configuration import Configuration
    from est_server.config.roles import Role
    from est_server.config.server import ServerModel
    from est_server.ports.ca import CaCertificates
    from est_server.ports.rollover import Rollover

_HEARTBEAT_SECONDS = 5.0
_FOLLOW_SECONDS = 1.0

log = structlog.get_logger("server")


class Server:
    """One server process.

    Args:
        path: server.yaml.
        migrate: whether the ledger's schema is brought up to this release first.
        worker: what a supervisor gave it; None for a process that listens alone.
        roles: what it does.
    """

    def __init__(
        self,
        path: Path,
        *,
        migrate: bool,
        worker: Inheritance | None = None,
        roles: frozenset[Role] = EVERYTHING,
    ) -> None:
        self._path = path
        self._worker = worker
        self._roles = roles
        self._configuration = load(path, roles=roles)
        server = self._configuration.server
        configure_logs(server.log.level, server.log.format)
        node = Node.new_name()
        if keyless(roles):
            self._ledger = ledger_to_read(self._configuration)
        else:
            actor = f"est-server@{socket.gethostname()}"
            self._ledger = ready_ledger(
                self._configuration, migrate=migrate, node=node, actor=actor
            )
        shown = self._ledger.validation if keyless(roles) else None
        self._cas = Authorities(self._configuration, logs=True, keyless=shown)
        self._ephemeral = ready_ephemeral(self._configuration)
        self._audit = None
        if not keyless(roles):
            self._audit = AuditKeeper.of(self._configuration, self._ledger.audit, system_clock)
        self._upkeep = CaUpkeep(self._ledger, self._cas)
        self._node = Node(node, self._ledger, self._configuration.digest, roles)
        limits = server.limits
        self._limits = HttpLimits(
            body=limits.body,
            body_timeout=limits.body_timeout.total_seconds(),
            idle_timeout=limits.idle_timeout.total_seconds(),
        )
        # no CA is open yet: `_follow` brings them before anybody is listened to
        self._est: EstSide | None = None
        if "est" in roles:
            self._est = EstSide(
                self._configuration, self._cas, self._ledger, self._ephemeral, self._limits
            )
        self._admin_tls: ServerTls | None = None
        if "admin" in roles:
            self._admin_tls = ServerTls(self._admin_context(self._configuration, ()))
        self._public = PublicSide(self._configuration, self._cas.open, self._ledger, node, roles)
        self._rollovers: tuple[Rollover, ...] = ()
        self._certificates: dict[str, CaCertificates] | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
        stopping, hangup = asyncio.Event(), asyncio.Event()
        self._listen_to_signals(stopping, hangup)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._node.leave)
            await self._node.report()  # before the first reservation: whose it is must be known
            await self._follow()
            if not keyless(self._roles):
                await self._upkeep.reconcile()
            await self._remember()
            stack.push_async_callback(self._public.leave)
            await self._public.start()
            listening = self._listen()
            stack.push_async_callback(
                listening.drain, self._configuration.server.limits.drain_timeout.total_seconds()
            )
            stack.callback(self._public.close)
            self._announce(listening)
            collect_less()
            async with running(self._works()):
                while not stopping.is_set():
                    await first_of(stopping, hangup)
                    if hangup.is_set():
                        hangup.clear()
                        await self._reload()
                log.info("server.draining")
            if self._est is not None:
                await self._est.followers.flush()
            if self._audit is not None:
                await self._audit.stop()
        await self._cas.close()
        await self._ephemeral.close()
        await self._ledger.close()
        log.info("server.stopped")

    def _listen_to_signals(self, stopping: asyncio.Event, hangup: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        text = "only a server with --workers is upgraded by SIGUSR2, and its supervisor is told"
        loop.add_signal_handler(signal.SIGUSR2, log.warning, "upgrade.not-here", text)
        if self._worker is not None:
            loop.add_reader(self._worker.life, stopping.set)  # nobody would restart or stop it

    def _works(self) -> tuple[Periodic, ...]:
        works = [
            Periodic("heartbeat", _HEARTBEAT_SECONDS, self._node.report),
            Periodic("follow", _FOLLOW_SECONDS, self._follow),
            Periodic("ephemeral", _FOLLOW_SECONDS, self._look_at_ephemeral),
            *self._upkeep.works(health_only="publisher" not in self._roles),
            *self._public.works(self._ephemeral),
        ]
        if self._est is not None:
            works.append(Periodic("followers", _FOLLOW_SECONDS, self._est.followers.flush))
        if "publisher" in self._roles:
            works += Chores(self._ledger, self._ephemeral).works()
        if self._audit is not None:
            works += self._audit.works()
        return tuple(works)

    def _listen(self) -> Listening:
        server = self._configuration.server
        worker = self._worker
        if worker is None:
            sockets = bind(server.listeners, listeners_of(self._roles))
            listening = Listening(sockets, self._limits, ALONE)
        else:
            listening = Listening(worker.take(), self._limits, SHARED)
        seconds = server.limits.handshake_timeout.total_seconds()
        if self._est is not None:
            listening.serve("est", self._est.endpoint.handle, (self._est.tls, seconds))
        if "validation" in self._roles:
            self._public.serve(listening, self._limits)
        if self._admin_tls is not None:
            admin = AdminEndpoint(self._ledger, self._upkeep.health)
            listening.serve("admin", admin.handle, (self._admin_tls, seconds))
        if worker is not None:
            worker.tell_ready()
        return listening

    def _announce(self, listening: Listening) -> None:
        for problem in self._configuration.warnings:
            log.warning("config.warning", code=problem.code, at=str(problem.position),
                        message=problem.message)  # fmt: skip
        log.info(
            "server.ready",
            **{name: listening.address(name) for name in LISTENERS.values()},
            roles=[role for role in ROLES if role in self._roles],
            profiles=sorted(self._configuration.profiles),
            config=self._configuration.digest[:12],
            pid=os.getpid(),
        )

    def _admin_context(self, configuration: Configuration, rollovers: Sequence[Rollover]) -> Any:
        listener = configuration.server.listeners.admin
        identity = tls_identity(listener, configuration.base, self._cas.open, rollovers)
        return tls_context(identity, ask=False)

    async def _follow(self) -> None:
        """Do what the ledger says about rollovers, and what CAs that open or change make of it.

        Raises:
            ConfigurationError: at the start, a CA can't do what the configuration says of it.
        """
        rollovers = tuple(await self._ledger.rollovers.all())
        opened = await self._cas.connect(rollovers)
        before = self._certificates
        found = to_follow(rollovers, self._rollovers, self._cas.open, before or {})
        certificates = self._cas.certificates()
        if found == self._rollovers and certificates == before:
            return
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

    async def _followed(self, found: tuple[Rollover, ...]) -> None:
        known = self._cas.open
        take = self._prepare(self._configuration, found)
        await self._public.publish_for(known, found)
        # nothing fails from here on
        take()
        self._public.answer_for(known, found)
        if self._est is not None:
            self._est.followers.follow(found)
        self._rollovers = found
        self._node.rollovers = summary(found)
        if found:
            log.info("rollover.followed", rollovers=self._node.rollovers)
            await self._node.report()

    def _prepare(
        self, configuration: Configuration, rollovers: Sequence[Rollover]
    ) -> Callable[[], None]:
        """Return what puts these in use, which can't fail.

        Raises:
            ConfigurationError, BackendUnavailable: they can't be used; nothing has changed.
        """
        est = None if self._est is None else self._est.prepare(configuration, rollovers)
        admin = None if self._admin_tls is None else self._admin_context(configuration, rollovers)

        def take() -> None:
            if self._est is not None and est is not None:
                self._est.take(est)
            if self._admin_tls is not None and admin is not None:
                self._admin_tls.replace(admin)

        return take

    async def _reload(self) -> None:
        """Swap profiles, trust and the TLS certificates, or keep everything as it is."""
        self._node.reloads += 1
        try:
            fresh = load(self._path, roles=self._roles)
            if _until_restart(self._configuration.server) != _until_restart(fresh.server):
                raise BackendUnavailable(
                    "reload.restart",
                    "cas, state, audit, retention and listeners.public.url need a restart",
                )
            take = self._prepare(fresh, self._rollovers)
        except (ConfigurationError, EstServerError, OSError) as error:
            self._node.reload_error = str(error)
            metrics.RELOAD_SUCCESS.set(0)
            log.error("config.kept", error=str(error), config=self._configuration.digest[:12])  # noqa: TRY400 - the text is the configuration's, a traceback says nothing
        else:
            self._configuration = fresh
            take()
            self._node.reload_error = None
            self._node.config_digest = fresh.digest
            await self._remember()
            log.info("config.reloaded", config=fresh.digest[:12])
        await self._node.report()

    async def _remember(self) -> None:
        """Keep the texts of profiles and policies, so that old decisions stay readable."""
        if self._est is not None:
            await self._ledger.remember_profiles(self._est.texts(), at=system_clock())
        if self._audit is not None:
            await self._audit.configured(self._configuration, system_clock())
        metrics.RELOAD_SUCCESS.set(1)
        metrics.RELOAD_TIME.set_to_current_time()

    async def _look_at_ephemeral(self) -> None:
        metrics.EPHEMERAL_AWAY.set(self._ephemeral.away)


def _until_restart(server: ServerModel) -> tuple[object, ...]:
    """Return what a reload must not change: certificates and lists say the same of the URL."""
    public = server.listeners.public
    url = None if public is None else public.url
    return server.cas, server.state, server.audit, server.retention, url

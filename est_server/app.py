"""The composition root: one server process, from its configuration to its listeners."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from est_server.config.configuration import Configuration, load
from est_server.config.logs import configure_logs
from est_server.config.server import TlsListener, host_and_port
from est_server.enrollment.authenticate import AttemptLimits, Authenticator
from est_server.enrollment.identifiers import new_identifier
from est_server.enrollment.reconcile import reconcile
from est_server.enrollment.service import EnrollmentService, Rulebook
from est_server.errors import BackendUnavailable, ConfigurationError, EstServerError
from est_server.pki.path import PathValidator
from est_server.pki.plan import Pointers
from est_server.ports.ca import BackendContext, CertificateAuthority, Health
from est_server.ports.ledger import Ledger, NodeStatus
from est_server.profiles.csr_attributes import csr_attributes
from est_server.profiles.profile import Issuer
from est_server.storage import open_ephemeral, open_ledger, sqlite_path
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.web import metrics
from est_server.web.admin import AdminEndpoint
from est_server.web.est import EstEndpoint, Pages
from est_server.web.http import HttpLimits, http_server
from est_server.web.tls import ServerTls
from est_server.web.tls_context import server_context
from est_server.web.validation import ValidationEndpoint
from est_server.wire.cms import certs_only

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from est_server.profiles.profile import Profile

_HEARTBEAT = 5.0
_HEALTH_EVERY = 12  # heartbeats

log = structlog.get_logger("server")


def system_clock() -> datetime:
    """Return the machine's time; the one place that reads it."""
    return datetime.now(UTC)  # noqa: TID251 - this is the Clock


def open_authorities(configuration: Configuration) -> dict[str, CertificateAuthority]:
    """Open every CA of the configuration.

    Raises:
        BackendUnavailable: one can't be opened.
    """
    return {
        name: backend.open(settings, BackendContext(name, configuration.base, system_clock))
        for name, (backend, settings) in configuration.ca_settings.items()
    }


def issuers_of(
    configuration: Configuration, authorities: Mapping[str, CertificateAuthority]
) -> dict[str, Issuer]:
    """Return what decisions need to know of each CA."""
    public = configuration.server.listeners.public
    return {
        name: Issuer(
            name,
            authority.certificates().issuer,
            Pointers() if public is None
            else Pointers(ca_issuers=(f"{public.url.rstrip('/')}/aia/{name}.cer",)),
        )
        for name, authority in authorities.items()
    }  # fmt: skip


def rulebook_of(
    configuration: Configuration,
    authorities: Mapping[str, CertificateAuthority],
    ledger: Ledger,
    ephemeral: Any,
) -> Rulebook:
    """Return what the configuration says, ready to run."""
    server = configuration.server
    names: dict[bytes, tuple[str, ...]] = {}
    for name, authority in authorities.items():
        subject = authority.certificates().issuer.subject.public_bytes()
        names[subject] = (*names.get(subject, ()), name)
    return Rulebook(
        profiles=configuration.compile(issuers_of(configuration, authorities)),
        labels=configuration.labels,
        authenticator=Authenticator(
            ledger=ledger,
            ephemeral=ephemeral,
            issuers=names,
            trust={name: PathValidator(store) for name, store in configuration.trust.items()},
            credential_key=server.credentials.key.read(configuration.base),
            limits=AttemptLimits(
                server.limits.attempts_per_user, server.limits.attempts_per_address
            ),
            clock=system_clock,
        ),
        idempotency_window=server.limits.idempotency_window,
        lenient_bodies=server.lenient_bodies,
    )


def ready_ledger(configuration: Configuration, *, migrate: bool) -> Ledger:
    """Open the ledger, whose schema must fit this release.

    Raises:
        BackendUnavailable: ``ledger.schema``; the hint names the command.
    """
    path = sqlite_path(configuration.server.state.ledger, configuration.base)
    status = upgrade_schema(path) if migrate else schema_status(path)
    if not status.ready:
        raise BackendUnavailable(
            "ledger.schema",
            f"the ledger has schema {status.current or 'none'}, this release needs {status.head}",
            hint="est-server db upgrade -c server.yaml",
        )
    return open_ledger(configuration.server.state.ledger, configuration.base)


class Server:
    """One server process."""

    def __init__(self, path: Path, *, migrate: bool) -> None:
        self._path = path
        self._configuration = load(path)
        server = self._configuration.server
        configure_logs(server.log.level, server.log.format)
        self._authorities = open_authorities(self._configuration)
        self._ledger = ready_ledger(self._configuration, migrate=migrate)
        self._ephemeral = open_ephemeral(server.state.ephemeral)
        self._health: dict[str, Health] = {}
        self._stopping = asyncio.Event()
        self._node = new_identifier("r", system_clock()).replace("r_", "n_")
        self._started = system_clock()
        self._reloads = 0
        self._reload_error: str | None = None
        limits = server.limits
        self._limits = HttpLimits(
            body=limits.body,
            body_timeout=limits.body_timeout.total_seconds(),
            idle_timeout=limits.idle_timeout.total_seconds(),
        )
        rulebook = rulebook_of(
            self._configuration, self._authorities, self._ledger, self._ephemeral
        )
        service = EnrollmentService(
            rulebook, self._authorities, self._ledger, self._ephemeral, system_clock
        )
        self._est = EstEndpoint(service, self._pages(rulebook), self._limits, server.realm)
        self._tls = ServerTls(self._context(server.listeners.est, ask=True))

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP reloads the configuration."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        hangup = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, hangup.set)
        presumed, parked = await reconcile(self._ledger, self._authorities, system_clock)
        if presumed or parked:
            log.warning("ledger.reconciled", presumed=presumed, parked=parked)
        await self._check_health()
        await self._remember()
        async with AsyncExitStack() as stack:
            await self._listen(stack)
            self._announce()
            beats = 0
            while not self._stopping.is_set():
                await self._report()
                await _first(self._stopping, hangup, timeout=_HEARTBEAT)
                if hangup.is_set():
                    hangup.clear()
                    await self._reload()
                beats += 1
                if beats % _HEALTH_EVERY == 0:
                    await self._check_health()
        await self._ledger.forget_node(self._node)
        for authority in self._authorities.values():
            await authority.close()
        await self._ephemeral.close()
        await self._ledger.close()
        log.info("server.stopped")

    async def _listen(self, stack: AsyncExitStack) -> None:
        listeners = self._configuration.server.listeners
        issuers = {
            name: authority.certificates().issuer.public_bytes(Encoding.DER)
            for name, authority in self._authorities.items()
        }
        await self._serve(stack, listeners.est.listen, self._est.handle, self._tls)
        if listeners.public is not None:
            endpoint = ValidationEndpoint(issuers)
            await self._serve(stack, listeners.public.listen, endpoint.handle, None)
        if listeners.admin is not None:
            admin = AdminEndpoint(self._ledger, self._health)
            tls = ServerTls(self._context(listeners.admin, ask=False))
            await self._serve(stack, listeners.admin.listen, admin.handle, tls)

    async def _serve(
        self, stack: AsyncExitStack, address: str, handler: Any, tls: ServerTls | None
    ) -> None:
        host, port = host_and_port(address)
        protocols = http_server(handler, self._limits)
        options: dict[str, Any] = {}
        if tls is not None:
            timeout = self._configuration.server.limits.handshake_timeout.total_seconds()
            options = {"ssl": tls, "ssl_handshake_timeout": timeout, "ssl_shutdown_timeout": 2.0}
        loop = asyncio.get_running_loop()
        listener = await loop.create_server(protocols, host, port, backlog=1024, **options)
        stack.push_async_callback(protocols.shutdown, 5.0)
        stack.callback(protocols.pre_shutdown)
        stack.callback(listener.close)

    def _announce(self) -> None:
        for problem in self._configuration.warnings:
            log.warning("config.warning", code=problem.code, at=str(problem.position),
                        message=problem.message)  # fmt: skip
        listeners = self._configuration.server.listeners
        log.info(
            "server.ready",
            est=listeners.est.listen,
            public=None if listeners.public is None else listeners.public.listen,
            admin=None if listeners.admin is None else listeners.admin.listen,
            profiles=sorted(self._configuration.profiles),
            config=self._configuration.digest[:12],
            pid=os.getpid(),
        )

    async def _reload(self) -> None:
        """Swap profiles, trust and the TLS certificate, or keep everything as it is."""
        self._reloads += 1
        try:
            fresh = load(self._path)
            before, after = self._configuration.server, fresh.server
            fixed = (before.cas, before.state) == (after.cas, after.state)
            if not fixed:
                raise BackendUnavailable(
                    "reload.restart", "cas and state take effect with a restart only"
                )
            rulebook = rulebook_of(fresh, self._authorities, self._ledger, self._ephemeral)
            pages = self._pages(rulebook)
            context = self._context(after.listeners.est, ask=True)
        except (ConfigurationError, EstServerError, OSError) as error:
            self._reload_error = str(error)
            metrics.RELOAD_SUCCESS.set(0)
            log.error("config.kept", error=str(error), config=self._configuration.digest[:12])  # noqa: TRY400 - the text is the configuration's, a traceback says nothing
            return
        self._configuration = fresh
        self._est.service.rulebook = rulebook
        self._est.pages = pages
        self._est.realm = after.realm
        self._tls.replace(context)
        self._reload_error = None
        await self._remember()
        log.info("config.reloaded", config=fresh.digest[:12])

    async def _remember(self) -> None:
        """Keep the profiles' texts, so that old decisions stay readable."""
        profiles = self._est.service.rulebook.profiles.values()
        texts = {profile.digest: (profile.name, profile.text) for profile in profiles}
        await self._ledger.remember_profiles(texts, at=system_clock())
        metrics.RELOAD_SUCCESS.set(1)
        metrics.RELOAD_TIME.set_to_current_time()

    async def _report(self) -> None:
        status = NodeStatus(
            node=self._node,
            pid=os.getpid(),
            host=socket.gethostname(),
            started_at=self._started,
            seen_at=system_clock(),
            config_digest=self._configuration.digest,
            reload_serial=self._reloads,
            reload_error=self._reload_error,
        )
        try:
            await self._ledger.report_node(status)
        except BackendUnavailable as error:
            log.warning("ledger.unavailable", hint=error.hint)

    async def _check_health(self) -> None:
        for name, authority in self._authorities.items():
            found = await authority.health()
            self._health[name] = found
            metrics.CA_HEALTH.labels(name).set(found.ok)
            end = authority.certificates().issuer.not_valid_after_utc
            metrics.ISSUER_NOT_AFTER.labels(name).set(end.timestamp())
            if not found.ok:
                log.error("ca.unhealthy", ca=name, detail=found.detail)

    def _pages(self, rulebook: Rulebook) -> dict[str | None, Pages]:
        made = {name: self._page(profile) for name, profile in rulebook.profiles.items()}
        return {label: made[name] for label, name in rulebook.labels.items()}

    def _page(self, profile: Profile) -> Pages:
        certificates = self._authorities[profile.model.ca].certificates()
        cacerts = certs_only([certificates.issuer, *certificates.chain])
        return Pages(cacerts, csr_attributes(profile))

    def _context(self, listener: TlsListener, *, ask: bool) -> Any:
        base = self._configuration.base
        try:
            chain = x509.load_pem_x509_certificates((base / listener.certificate).read_bytes())
            key: Any = load_pem_private_key(listener.key.read(base), None)
        except (OSError, ValueError, TypeError) as error:
            raise BackendUnavailable(
                "tls.certificate",
                f"the listener's certificate or key can't be read: {error}",
                hint=f"check {listener.certificate} and {listener.key.reference}",
            ) from error
        end = chain[0].not_valid_after_utc
        metrics.SERVER_CERTIFICATE_NOT_AFTER.set(end.timestamp())
        return server_context(chain, key, request_client_certificate=ask)


async def _first(*events: asyncio.Event, timeout: float) -> None:  # noqa: ASYNC109 - a pause, not a limit
    """Return when an event is set, or after `timeout` seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


def serve(path: Path, *, migrate: bool = False) -> None:
    """Run a server until it is told to stop.

    Raises:
        ConfigurationError: the configuration can't be used.
        BackendUnavailable: a CA, the ledger or a certificate can't be opened.
    """

    async def main() -> None:
        await Server(path, migrate=migrate).run()

    asyncio.run(main())

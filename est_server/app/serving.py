"""What the serve command runs: a process alone, a supervisor, or one of its workers.

A worker imports what its supervisor runs, so that an upgrade finds out before the supervisor is
replaced whether the new one can start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from est_server.app.server import Server
from est_server.app.sockets import bind
from est_server.app.supervisor import Settings, new_supervisor, next_supervisor
from est_server.app.worker import inherited
from est_server.config.configuration import load
from est_server.config.logs import configure_logs
from est_server.config.roles import EVERYTHING, listeners_of

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.config.roles import Role


def serve(
    path: Path,
    *,
    migrate: bool = False,
    workers: int | None = None,
    roles: frozenset[Role] = EVERYTHING,
) -> int:
    """Run until told to stop, and return the exit code.

    Args:
        path: server.yaml.
        migrate: whether the ledger's schema is brought up to this release first.
        workers: how many processes serve; None: this one.
        roles: what each of them does.

    Raises:
        ConfigurationError: the configuration can't be used.
        BackendUnavailable: an address, the ledger or a certificate can't be had.
    """
    worker = inherited()
    if workers is None or worker is not None:

        async def alone() -> int:
            migrates = worker.migrates if worker else migrate
            await Server(path, migrate=migrates, worker=worker, roles=roles).run()
            return 0

        return asyncio.run(alone())
    supervisor = next_supervisor()
    if supervisor is None:
        server = load(path, roles=roles).server
        configure_logs(server.log.level, server.log.format)
        grace = server.limits.drain_timeout.total_seconds()
        settings = Settings(workers, grace, server.log.level, server.log.format)
        sockets = bind(server.listeners, listeners_of(roles))
        supervisor = new_supervisor(settings, sockets, migrate=migrate)
    return asyncio.run(supervisor.run())

"""What this process says about itself in the ledger, so that commands find and follow it."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.app.clock import system_clock
from est_server.config.roles import EVERYTHING, ROLES, keyless
from est_server.enrollment.identifiers import new_identifier
from est_server.ports.ledger import Ledger, NodeStatus

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from est_server.config.roles import Role


@dataclass(slots=True)
class Node:
    """This process.

    Attributes:
        name: another one at each start.
        ledger: where it reports.
        config_digest: of the configuration in use.
        roles: what it does.
        reloads: how often a reload was tried.
        reload_error: why the last one failed, None if it did not.
        rollovers: how far it follows each (`est_server.rollover.publication.summary`).
    """

    name: str
    ledger: Ledger
    config_digest: str
    roles: Collection[Role] = EVERYTHING
    reloads: int = 0
    reload_error: str | None = None
    rollovers: str = ""
    _started: datetime = field(default_factory=system_clock)

    @staticmethod
    def new_name() -> str:
        """Return a name that no other process has, nor this one at its next start."""
        return new_identifier("r", system_clock()).replace("r_", "n_")

    async def report(self) -> None:
        """Write the present state, if this process may write."""
        if keyless(self.roles):
            return
        await self.ledger.report_node(
            NodeStatus(
                node=self.name,
                pid=os.getpid(),
                host=socket.gethostname(),
                started_at=self._started,
                seen_at=system_clock(),
                config_digest=self.config_digest,
                reload_serial=self.reloads,
                reload_error=self.reload_error,
                rollovers=self.rollovers,
                roles=" ".join(role for role in ROLES if role in self.roles),
            )
        )

    async def leave(self) -> None:
        """Take back what was reported."""
        if not keyless(self.roles):
            await self.ledger.forget_node(self.name)

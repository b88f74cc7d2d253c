"""What doctor says about roles: is there somebody for everything, and who publishes?"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.app.leases import SILENT_FOR
from est_server.app.public import PUBLISHER
from est_server.cli.patient import Finding
from est_server.ports.ledger import NODE_ALIVE_FOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.cli.patient import Patient

_NEEDED = (
    ("publisher", "nobody publishes revocation lists, renews responders or settles orders"),
    ("est", "nobody enrolls"),
)


async def check_roles(patient: Patient) -> AsyncIterator[Finding]:
    """Look whether the processes that run do everything together.

    Those that only validate don't write to the ledger, so nobody knows of them here.
    """
    if (ledger := patient.ledger) is None:
        return
    nodes = [one for one in await ledger.nodes() if one.seen_at > patient.now - NODE_ALIVE_FOR]
    if not nodes:
        return
    there = {role for node in nodes for role in node.roles.split()}
    for role, missing in _NEEDED:
        if role not in there:
            then = f"est-server serve --role {role} -c {patient.path}"
            yield Finding("fail", f"no process has role {role}: {missing}", then)
    if "publisher" not in there:
        return
    lease = await ledger.leases.get(PUBLISHER)
    holder = next((one for one in nodes if lease is not None and one.node == lease.holder), None)
    if lease is None or holder is None:
        then = "one of them takes the lease within seconds; if not, see its log"
        yield Finding("warn", "no process that runs has the lease of the publisher", then)
    elif lease.seen_at < patient.now - timedelta(seconds=2 * SILENT_FOR):
        text = f"the publisher, pid {holder.pid} on {holder.host}, has been silent for long"
        yield Finding("warn", text, "another one takes its lease when a list is due")
    else:
        yield Finding("ok", f"pid {holder.pid} on {holder.host} publishes")

"""Kills a process that issues, at every edge of every state, and looks at the books after each.

    await kill_at_edges("ca_worlds:ScriptedWorld", folder, kills=100)

The world stays alive in this process; the process that is killed opens the same CA by making a
world of its own in the same folder, without entering it. What must hold after each kill, a restart
and the device's next request:

1. the ledger finds every certificate that the CA made
2. every question has exactly one certificate in use
3. what the ledger calls revoked is revoked at a CA that can revoke
"""

from __future__ import annotations

import asyncio
import importlib
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.enrollment.reconcile import reconcile
from est_server.enrollment.resolving import bring, free, refuse
from est_server.errors import BackendRejected, BackendUnavailable, Conflict, Pending
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.ports.revocation import Revocation
from est_server.testing.books import check_books
from est_server.testing.desk import CA, Desk, MovedClock, open_ledger
from est_server.testing.edges import AUTHORITY, LEDGER, ORDERS, REVOCATIONS, UPSTREAM, Edges

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.orders import OpenOrder
    from est_server.storage.sqlite import SqliteLedger
    from est_server.testing.world import Fault, World

FAULTS: tuple[Fault | None, ...] = (
    None, "lost-reply", "timeout-after-accept", "pending", "wrong-validity", "throttle",
)  # fmt: skip
_KILLED = -9
_CHILD_SECONDS = 120
_RETRIES = 8


def world_of(name: str) -> type[World]:
    """Return the class that ``module:Class`` names."""
    module, _, attribute = name.partition(":")
    found: type[World] = getattr(importlib.import_module(module), attribute)
    return found


async def kill_at_edges(world: str, folder: Path, *, kills: int, seed: int = 0) -> list[str]:
    """Kill `kills` processes and return where: ``lost-reply 7/21``.

    Args:
        world: ``module:Class`` of a `World`; the module must be importable by a new process.
        folder: empty.
        kills: how many; a hundred passes every edge of every fault that the world knows.
        seed: of the choice of edges where there are more than kills.

    Raises:
        AssertionError: the books are wrong.
    """
    kind = world_of(world)
    (folder / "world").mkdir()
    ledger = open_ledger(folder, "parent")
    died: list[str] = []
    try:
        async with kind(folder / "world", MovedClock()) as alive:
            faults = [fault for fault in FAULTS if fault not in kind.impossible]
            if not alive.open().capabilities.may_wait:
                faults.remove("pending")
            chance = random.Random(seed)  # noqa: S311 - which edges a short run looks at
            faults = chance.sample(faults, min(kills, len(faults)))
            plan: list[tuple[Fault | None, int, int]] = []
            for number, fault in enumerate(faults):
                run = _Run(world, folder, ledger, alive, f"whole-{number}")
                count = await run.passed(fault)
                plan += [(fault, at, count) for at in range(1, count + 1)]
            chance.shuffle(plan)
            while len(plan) < kills:
                plan += plan
            for number, (fault, at, count) in enumerate(plan[:kills]):
                run = _Run(world, folder, ledger, alive, f"kill-{number}")
                if await run.killed(fault, at):
                    died.append(f"{fault} {at}/{count}")
    finally:
        await ledger.close()
    return died


@dataclass(slots=True)
class _Run:
    """One process, and what is found after it."""

    world: str
    folder: Path
    ledger: SqliteLedger
    alive: World
    name: str

    async def passed(self, fault: Fault | None) -> int:
        """Return how many edges a process passes that nobody kills."""
        said, code = await self._child(fault, 0)
        if code:
            raise AssertionError(f"{self.name}, {fault}: the process failed: {said}")
        await self._afterwards()
        return int(said.split()[-1])

    async def killed(self, fault: Fault | None, at: int) -> bool:
        """Kill one at an edge; tell whether it got there."""
        said, code = await self._child(fault, at)
        if code not in {0, _KILLED}:
            raise AssertionError(f"{self.name}, {fault} {at}: the process failed: {said}")
        try:
            await self._afterwards()
        except AssertionError as error:
            raise AssertionError(f"killed at edge {at} of {fault}: {error}") from error
        return code == _KILLED

    async def _child(self, fault: Fault | None, at: int) -> tuple[str, int]:
        if fault is not None:
            await self.alive.fail(fault)
        command = (sys.executable, "-m", "est_server.testing.kills")
        child = await asyncio.create_subprocess_exec(
            *command, self.world, str(self.folder), self.name, str(at),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, errors = await asyncio.wait_for(child.communicate(), _CHILD_SECONDS)
        return (out or errors).decode(), child.returncode or 0

    async def _afterwards(self) -> None:
        """Restart, let the devices come back, and look at the books."""
        await self.alive.heal()
        clock = MovedClock(NODE_ALIVE_FOR + timedelta(seconds=1))
        authority = self.alive.open()
        await authority.connect()
        try:
            desk = Desk(self.ledger, authority, clock)
            await reconcile(self.ledger, {CA: authority}, clock)
            await desk.settle()
            for order in _orders(desk, self.name):
                await self._device(desk, order)
            for request, _ in await self.ledger.pending.parked():
                await self._person(desk, request.id)
            await self._check(desk)
        finally:
            await authority.close()

    async def _device(self, desk: Desk, order: OpenOrder) -> None:
        """Come back with the same question until it is answered."""
        key, identity = order.request.idempotency_key, order.request.identity
        since = order.request.created_at - timedelta(days=1)
        for _ in range(_RETRIES):
            if await self.ledger.issued(key, since=since) is not None:
                return
            holder = await self.ledger.request_by_key(key)
            with suppress(Pending, BackendUnavailable, BackendRejected, Conflict):
                if holder is None:
                    await desk.enroll(_again(desk, order))
                elif holder.state == "waiting":
                    await desk.poll(replace(order, request=holder))
                else:
                    await self._person(desk, holder.id)
        raise AssertionError(f"{identity} got no certificate")

    async def _person(self, desk: Desk, request_id: str) -> None:
        """Settle what nobody else can, with the CA's own records in hand."""
        await desk.settle()
        order = await self.ledger.orders.get(request_id)
        if order is None or order.request.state != "parked":
            return
        for certificate in await self.alive.issued():
            spki = certificate.public_key().public_bytes(
                Encoding.DER, PublicFormat.SubjectPublicKeyInfo
            )
            if sha256(spki).digest() == order.request.spki_sha256:
                with suppress(Conflict):
                    if await self._brought(desk, request_id, certificate):
                        return
        await free(self.ledger, request_id, by="somebody", clock=desk.clock)

    async def _brought(self, desk: Desk, request_id: str, certificate: x509.Certificate) -> bool:
        """Bring a certificate as what was ordered, or else as what nobody may have."""
        arguments = self.ledger, desk.authority, request_id, certificate
        try:
            await bring(*arguments, by="somebody", clock=desk.clock)
        except BackendRejected:
            await refuse(*arguments, by="somebody", clock=desk.clock)
            return False
        return True

    async def _check(self, desk: Desk) -> None:
        await check_books(self.ledger, await self.alive.issued())
        for order in _orders(desk, self.name):
            rows = await self.ledger.certificates(identity=order.request.identity)
            good = [row for row in rows if row.status == "good"]
            if len(good) != 1:
                states = [row.status for row in rows]
                raise AssertionError(f"{order.request.identity} has {states}")
        if desk.authority.capabilities.revokes:
            await desk.revoke_upstream()
            revoked = await self.alive.revoked()
            for row in await self.ledger.certificates(status="revoked", limit=10_000):
                if row.serial_number not in revoked:
                    raise AssertionError(f"{row.serial_number:x} is not revoked at the CA")


def _orders(desk: Desk, name: str) -> Sequence[OpenOrder]:
    """Return the questions of one process, the same ones each time but for their keys."""
    return [_named(desk.new_order(), f"{name}-{number}") for number in range(2)]


def _again(desk: Desk, order: OpenOrder) -> OpenOrder:
    return _named(desk.new_order(), order.request.identity)


def _named(order: OpenOrder, identity: str) -> OpenOrder:
    key = sha256(identity.encode()).digest()
    return replace(order, request=replace(order.request, identity=identity, idempotency_key=key))


async def _issue(world: str, folder: Path, name: str, fatal: int) -> int:
    """Be the process that may be killed: issue, revoke, and carry the revocation there."""
    edges, clock = Edges(fatal), MovedClock()
    ledger = open_ledger(folder, name)
    edged: Any = edges.around(
        ledger,
        LEDGER,
        {
            "orders": edges.around(ledger.orders, ORDERS),
            "revocations": edges.around(ledger.revocations, REVOCATIONS),
            "upstream": edges.around(ledger.upstream, UPSTREAM),
        },
    )
    authority = edges.around(world_of(world)(folder / "world", clock).open(), AUTHORITY)
    await authority.connect()
    desk = Desk(edged, authority, clock)
    for order in _orders(desk, name):
        with suppress(Pending, BackendUnavailable, BackendRejected):
            await desk.enroll(order)
    with suppress(Pending, BackendUnavailable, BackendRejected, Conflict):
        extra = await desk.enroll(_named(desk.new_order(), f"{name}-revoked"))
        revocation = Revocation(CA, extra.serial_number, "superseded", clock(), "kills")
        await edged.revocations.revoke([revocation])
        if authority.capabilities.revokes:
            await desk.revoke_upstream()
    await desk.settle()
    await authority.close()
    await ledger.close()
    return edges.passed


if __name__ == "__main__":
    from pathlib import Path

    _, _world, _folder, _name, _fatal = sys.argv
    print(asyncio.run(_issue(_world, Path(_folder), _name, int(_fatal))))  # noqa: T201 - said to the parent

"""The contract suite: every case of `world.CASES`, over one backend."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, ClassVar, cast

import pytest
from cryptography import x509

from est_server.enrollment.resolving import bring
from est_server.errors import BackendRejected, BackendUnavailable, Pending
from est_server.pki.check import signed_by
from est_server.ports.revocation import Revocation
from est_server.testing.books import check_books
from est_server.testing.desk import CA, Desk, MovedClock, open_ledger, order_of
from est_server.testing.world import CASES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from est_server.ports.ca import Capabilities, LooksUp, Revokes
    from est_server.ports.ledger import CertificateRecord
    from est_server.ports.orders import OpenOrder
    from est_server.storage.sqlite import SqliteLedger
    from est_server.testing.world import Fault, World

Outcome = str | None
"""None: shown. A text: why the case can't happen here, by the backend's own declaration."""


class CaContract:
    """Subclass it as ``Test…`` and name backend and world.

    Attributes:
        backend: its name, for the table.
        world: makes the CA.
    """

    backend: ClassVar[str]
    world: ClassVar[type[World]]

    @pytest.mark.parametrize("case", CASES)
    def test_case(
        self, case: str, tmp_path: Path, record_property: Callable[[str, object], None]
    ) -> None:
        """Show one case."""
        shown = [self.backend, case, self.world.impossible.get(case)]
        record_property("ca-case", shown)  # first of all: a failure is in the table too
        if shown[2] is None:
            shown[2] = asyncio.run(_shown(case, self.world, tmp_path))


@dataclass(slots=True)
class Scene:
    """One world and what enrolls in it."""

    world: World
    ledger: SqliteLedger
    clock: MovedClock
    desk: Desk

    async def restart(self) -> None:
        """Go on as another process over the same ledger."""
        await self.desk.authority.close()
        self.desk = await _opened(self.world, self.ledger, self.clock)


async def _opened(world: World, ledger: SqliteLedger, clock: MovedClock) -> Desk:
    authority = world.open()
    await authority.connect()
    return Desk(ledger, authority, clock)


async def _shown(case: str, make: type[World], folder: Path) -> Outcome:
    clock = MovedClock()
    (folder / "world").mkdir()
    (folder / "ledger").mkdir()
    ledger = open_ledger(folder / "ledger")
    try:
        async with make(folder / "world", clock) as world:
            if case == "unavailable-at-start":
                await _unavailable_at_start(world, ledger, clock)
                return None
            scene = Scene(world, ledger, clock, await _opened(world, ledger, clock))
            outcome = lacking(case, scene.desk.authority.capabilities)
            if outcome is None:
                await _CASES[case](scene)
            await check_books(ledger, await world.issued())
            await scene.desk.authority.close()
            return outcome
    finally:
        await ledger.close()


def lacking(case: str, can: Capabilities) -> Outcome:
    """Return why a case can't happen with a backend that declares so; None if it can."""
    powers = {
        "duplicate-token": (can.repeats_for, "it promises no repeated answer"),
        "pending": (can.may_wait, "it decides at once"),
        "look-up": (can.looks_up, "it can't look an order up"),
        "revoke": (can.revokes, "it can't revoke"),
    }
    power, without = powers.get(case, (True, None))
    return None if power else without


async def _capabilities(scene: Scene) -> None:
    authority = scene.desk.authority
    can = authority.capabilities
    for declared, methods in (
        (can.signs_tbs, ("sign_tbs", "signature_algorithm")),
        (can.revokes, ("revoke",)),
        (can.looks_up, ("find",)),
        (can.prepares, ("prepare",)),
    ):
        for method in methods:
            assert not declared or hasattr(authority, method), f"it declares {method}"
    assert not can.holds_signature or can.local_key, "who holds a signature has the key"
    assert not (can.may_wait and can.local_key), "a key that is ours waits for nobody"
    assert not can.prepares or can.looks_up, "what has a name can be looked up"
    known = authority.certificates()
    above = [*known.chain, known.issuer][: len(known.chain)]
    for below, issuer in zip((known.issuer, *known.chain), above, strict=False):
        assert signed_by(below, issuer), "the chain goes from the issuer up"
    health = await authority.health()
    assert health.ok, health.detail


async def _issue(scene: Scene) -> None:
    rows = [await scene.desk.enroll() for _ in range(3)]
    assert len({row.serial_number for row in rows}) == 3
    assert {certificate_of(row) for row in rows} <= {*await scene.world.issued()}
    assert [row.status for row in rows] == ["good"] * 3


async def _lost_reply(scene: Scene) -> None:
    order = await _no_answer(scene, "lost-reply")
    await _settled(scene, order)


async def _timeout_after_accept(scene: Scene) -> None:
    order = await _no_answer(scene, "timeout-after-accept")
    if not scene.desk.authority.capabilities.local_key:
        await scene.desk.settle(attempts=1)
        state = await scene.desk.state(order)
        assert state != "rejected", "it may still be issued"
    await scene.world.heal()
    await _settled(scene, order)


async def _no_answer(scene: Scene, fault: Fault) -> OpenOrder:
    """Ask while the answer gets lost."""
    order = scene.desk.new_order()
    await scene.world.fail(fault)
    try:
        await scene.desk.enroll(order)
    except BackendUnavailable as error:
        assert not error.nothing_issued, "nobody may be certain that nothing was issued"
        assert error.retry_after > 0
    except Pending:
        pass  # it asked again by itself, and was told to wait
    else:
        # a backend that asks again by itself, within its own call, lost nothing
        assert await scene.desk.state(order) == "issued"
    return order


async def _settled(scene: Scene, order: OpenOrder) -> None:
    """Show that the outcome is found out where it can be, and left to a person where not."""
    can = scene.desk.authority.capabilities
    if await scene.desk.state(order) == "issued":
        return
    if can.local_key:
        [row] = [row for row in await scene.ledger.certificates() if row.der is None]
        assert row.status == "presumed"
        assert await scene.desk.state(order) == "rejected"
        return
    await scene.restart()
    if await scene.desk.state(order) == "waiting":
        await scene.desk.poll(order)
    await scene.desk.settle()
    if not can.looks_up and not can.repeats_for:
        if await scene.desk.state(order) != "issued":
            await _resolved_by_hand(scene, order)
        return
    state = await scene.desk.state(order)
    assert state == "issued", f"the request is {state}"
    assert len(await scene.world.issued()) == 1


async def _resolved_by_hand(scene: Scene, order: OpenOrder) -> None:
    """Nobody can tell but the CA's own records: bring the certificate as a person does."""
    assert await scene.desk.state(order) == "parked"
    [certificate] = await scene.world.issued()
    await bring(
        scene.ledger,
        scene.desk.authority,
        order.request.id,
        certificate,
        by="somebody",
        clock=scene.clock,
    )
    assert await scene.desk.state(order) == "issued"


async def _duplicate_token(scene: Scene) -> None:
    authority = scene.desk.authority
    order = scene.desk.new_order()
    row = await scene.desk.enroll(order)
    again = await scene.desk.written(order)
    second, third = await asyncio.gather(*(authority.issue(again) for _ in range(2)))
    assert {second, third} == {certificate_of(row)}, "the same order, the same certificate"
    assert len(await scene.world.issued()) == 1


async def _throttle(scene: Scene) -> None:
    order = scene.desk.new_order()
    await scene.world.fail("throttle")
    try:
        await scene.desk.enroll(order)
    except BackendUnavailable as error:
        assert error.nothing_issued, "a CA that is too busy took nothing"
        assert error.retry_after > 0
        assert await scene.desk.state(order) == "rejected"
        await scene.desk.enroll()
    assert len(await scene.world.issued()) == 1


async def _refused(scene: Scene) -> None:
    order = scene.desk.new_order()
    await scene.world.fail("refused")
    with pytest.raises(BackendRejected):
        await scene.desk.enroll(order)
    reserved_first = not scene.desk.authority.capabilities.holds_signature
    assert await scene.desk.state(order) == ("rejected" if reserved_first else "none")
    assert not await scene.world.issued()
    await scene.desk.enroll()


def _wrong(fault: Fault, *rules: str) -> Callable[[Scene], Awaitable[None]]:
    async def shown(scene: Scene) -> None:
        order = scene.desk.new_order()
        await scene.world.fail(fault)
        with pytest.raises(BackendRejected) as refused:
            await scene.desk.enroll(order)
        assert refused.value.rule in rules, refused.value.rule
        if scene.desk.authority.capabilities.local_key:
            assert await scene.desk.state(order) in {"parked", "rejected"}
            return
        assert await scene.desk.state(order) == "parked"
        [row] = await scene.ledger.certificates(status="revoked")
        assert row.request_id == order.request.id
        assert row.der is not None
        if scene.desk.authority.capabilities.revokes and fault != "wrong-issuer":
            await scene.desk.revoke_upstream()
            assert row.serial_number in await scene.world.revoked()
        await scene.desk.enroll()  # the next answer is right
        return

    return shown


async def _unavailable_at_start(world: World, ledger: SqliteLedger, clock: MovedClock) -> None:
    await world.fail("unavailable")
    try:
        authority = world.open()
    except BackendUnavailable as error:
        assert error.hint, "the hint says what to do"
    else:
        with pytest.raises(BackendUnavailable) as away:
            await authority.connect()
        assert away.value.hint, "the hint says what to do"
        health = await authority.health()
        assert not health.ok
        assert health.detail
        await world.heal()
        await authority.connect()  # the same one, without a restart
        await Desk(ledger, authority, clock).enroll()
        await authority.close()
    await world.heal()
    desk = await _opened(world, ledger, clock)
    await desk.enroll()
    await check_books(ledger, await world.issued())
    await desk.authority.close()


async def _unavailable_then_back(scene: Scene) -> None:
    await scene.desk.enroll()
    order = scene.desk.new_order()
    await scene.world.fail("unavailable")
    with pytest.raises(BackendUnavailable) as away:
        await scene.desk.enroll(order)
    expected = {"rejected"} if away.value.nothing_issued else {"parked", "rejected"}
    if scene.desk.authority.capabilities.holds_signature:
        expected = {"none"}  # nothing is reserved before the CA is asked
    assert await scene.desk.state(order) in expected
    assert not (await scene.desk.authority.health()).ok
    await scene.world.heal()
    assert (await scene.desk.authority.health()).ok
    await scene.desk.enroll()
    await scene.desk.settle()


async def _pending(scene: Scene) -> None:
    order = scene.desk.new_order()
    await scene.world.fail("pending")
    with pytest.raises(Pending) as waits:
        await scene.desk.enroll(order)
    assert waits.value.retry_after > 0
    assert await scene.desk.state(order) == "waiting"
    await scene.restart()
    with pytest.raises(Pending):
        await scene.desk.poll(order)
    assert await scene.desk.state(order) == "waiting"
    await scene.world.heal()
    row = await scene.desk.poll(order)
    assert [certificate_of(row)] == [*await scene.world.issued()]


async def _look_up(scene: Scene) -> None:
    authority = scene.desk.authority
    looks_up = cast("LooksUp", authority)
    order = scene.desk.new_order()
    row = await scene.desk.enroll(order)
    assert await looks_up.find(await scene.desk.written(order)) == certificate_of(row)
    never = order_of(scene.desk.new_order())
    long_ago = scene.clock() - timedelta(days=30)
    assert await looks_up.find(replace(never, ordered_at=long_ago)) is None


async def _revoke(scene: Scene) -> None:
    authority = scene.desk.authority
    row = await scene.desk.enroll()
    other = await scene.desk.enroll()
    order = Revocation(CA, row.serial_number, "keyCompromise", scene.clock(), "contract")
    hold = Revocation(CA, other.serial_number, "certificateHold", scene.clock(), "contract")
    await scene.ledger.revocations.revoke([order, hold])
    await scene.desk.revoke_upstream()
    await scene.desk.revoke_upstream()
    await cast("Revokes", authority).revoke(certificate_of(row), "keyCompromise")
    revoked = await scene.world.revoked()
    assert row.serial_number in revoked
    assert other.serial_number not in revoked, "a hold stays here"


def certificate_of(row: CertificateRecord) -> x509.Certificate:
    """Return the certificate of a row."""
    return x509.load_der_x509_certificate(row.der or b"")


_CASES: dict[str, Callable[[Scene], Awaitable[None]]] = {
    "capabilities": _capabilities,
    "issue": _issue,
    "lost-reply": _lost_reply,
    "duplicate-token": _duplicate_token,
    "throttle": _throttle,
    "timeout-after-accept": _timeout_after_accept,
    "wrong-key": _wrong("wrong-key", "issued.key", "issued.extensions"),
    "wrong-names": _wrong("wrong-names", "issued.names", "issued.subject"),
    "wrong-validity": _wrong("wrong-validity", "issued.validity"),
    "wrong-issuer": _wrong(
        "wrong-issuer", "issued.issuer", "issued.signature", "issued.extensions"
    ),
    "refused": _refused,
    "unavailable-then-back": _unavailable_then_back,
    "pending": _pending,
    "look-up": _look_up,
    "revoke": _revoke,
}

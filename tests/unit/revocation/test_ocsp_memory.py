"""Memory is never wrong for longer than its bound, however looks, reads and clocks interleave."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from est_server.errors import BackendUnavailable
from est_server.ports.revocation import RevocationEvent
from est_server.revocation import follower as follower_module
from est_server.revocation import ocsp_memory
from est_server.revocation.follower import EventFollower, Follows
from est_server.revocation.ocsp_memory import TRUSTED_FOR, AnswerMemory, Lease, OcspAnswer
from est_server.revocation.ocsp_status import Finding
from est_server.wire.ocsp import CertId

START = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
SERIALS = (1, 2)


def cert_id(serial: int, form: int = 0) -> CertId:
    return CertId(b"%d/%d" % (serial, form), "sha1", b"n", b"k", serial, usual=True)


@coroutine
def pause():
    """Let the test decide what happens before this goes on."""
    yield


@dataclass
class Ledger:
    """Statuses and their events; each read stops before and after it happens."""

    revoked: dict[int, bool] = field(default_factory=lambda: dict.fromkeys(SERIALS, False))
    changed_at: dict[int, float] = field(default_factory=dict)
    events_: list[RevocationEvent] = field(default_factory=list)
    away: bool = False

    def change(self, serial: int, elapsed: float) -> None:
        self.revoked[serial] = not self.revoked[serial]
        self.changed_at[serial] = elapsed
        action: Any = "held" if self.revoked[serial] else "released"
        self.events_.append(
            RevocationEvent(
                len(self.events_) + 1, "ca", serial, action, None, None, None, START, "", ""
            )
        )

    async def last_event(self):
        await pause()
        if self.away:
            raise BackendUnavailable("ledger.unavailable", "away")
        found = self.events_[-1] if self.events_ else None
        await pause()
        return found

    async def events(self, *, after=0, limit=1000, serial_number=None):
        await pause()
        found = self.events_[after : after + limit]
        await pause()
        return found


@dataclass
class Machine:
    """What one process does, step by step."""

    elapsed: float = 100.0
    day: float = START.timestamp()
    ledger: Ledger = field(default_factory=Ledger)
    looks: list[Any] = field(default_factory=list)
    reads: list[tuple[int, int, bool, int | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lease = Lease(lambda: self.elapsed, lambda: self.day)
        self.memory = AnswerMemory(self.lease)
        follows = {"ca": Follows(self.memory.forget, self.memory.forget_all)}
        self.follower = EventFollower(self.ledger, self.lease, follows)  # type: ignore[arg-type]

    def step(self, what: str, serial: int, form: int, seconds: float) -> None:
        match what:
            case "pass":
                self.elapsed += seconds
                self.day += seconds
            case "stop":  # the machine's clocks run on, or only one of them does
                self.elapsed += seconds * 10
            case "set":
                self.day += (1 - 2 * form) * seconds * 1000
            case "change":
                self.ledger.change(serial, self.elapsed)
            case "away":
                self.ledger.away = not self.ledger.away
            case "look":
                if not self.looks:  # one at a time, as `periodic` has it
                    self.looks.append(self.follower.look())
                self.go_on()
            case "look to its end":
                self.step("look", serial, form, seconds)
                while self.looks:
                    self.go_on()
            case "answer":
                self.step("read", serial, form, seconds)
                self.step("keep", serial, len(self.reads) - 1, seconds)
            case "go on":
                self.go_on()
            case "read":
                now = self.ledger.revoked.get(serial, False)
                self.reads.append((serial, form % 2, now, self.lease.sequence))
            case "keep" if self.reads:
                serial, form, revoked, read_at = self.reads.pop(form % len(self.reads))
                status: Any = "revoked" if revoked else "good"
                begin = datetime.fromtimestamp(self.day, UTC)
                answer = OcspAnswer(b"", status, begin, begin + timedelta(days=365))
                finding = Finding(status, issued=True)
                self.memory.keep(cert_id(serial, form), finding, answer, read_at)

    def go_on(self) -> None:
        for look in tuple(self.looks):
            try:
                look.send(None)
            except (StopIteration, BackendUnavailable):
                self.looks.remove(look)

    def check(self) -> None:
        """Every answer that would be given from memory is right, or was within the bound."""
        if not self.lease.trusted():
            return
        for serial in SERIALS:
            for form in range(2):
                slot = self.memory.find(cert_id(serial, form))
                if slot is None or slot.answer is None:
                    continue
                right = "revoked" if self.ledger.revoked[serial] else "good"
                if slot.answer.outcome != right:
                    assert self.elapsed - self.ledger.changed_at[serial] <= TRUSTED_FOR


WHAT = (
    *("pass", "look to its end") * 4,
    *("answer", "change", "look", "go on", "read", "keep") * 2,
    *("stop", "set", "away"),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(WHAT),
        st.sampled_from(SERIALS),
        st.integers(0, 1),
        st.sampled_from((0.05, 0.2, 0.4, 0.9)),
    ),
    min_size=20,
    max_size=120,
)


@settings(
    max_examples=500, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(steps=STEPS, most=st.sampled_from((2, 1000)))
def test_no_interleaving_gives_a_stale_answer_after_the_bound(steps, most):
    machine = Machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(follower_module, "MOST_EVENTS", most)
        try:
            for step in steps:
                machine.step(*step)
                machine.check()
        finally:
            for look in machine.looks:
                look.close()


def run(coroutine_) -> None:
    """Run a look through all its pauses."""
    try:
        while True:
            coroutine_.send(None)
    except StopIteration:
        pass


def kept(machine: Machine, serial: int = 1):
    machine.step("read", serial, 0, 0.0)
    machine.step("keep", serial, 0, 0.0)
    return machine.memory.find(cert_id(serial))


@pytest.fixture
def machine():
    made = Machine()
    run(made.follower.look())
    return made


def test_nothing_is_kept_before_the_first_look():
    machine = Machine()
    assert kept(machine) is None
    assert not machine.lease.trusted()
    run(machine.follower.look())
    assert kept(machine) is not None
    assert machine.lease.trusted()


def test_trust_ends_by_either_clock(machine):
    machine.elapsed += TRUSTED_FOR - 0.01
    machine.day += TRUSTED_FOR - 0.01
    assert machine.lease.trusted()
    machine.elapsed += 0.02
    assert not machine.lease.trusted()
    for jump in (-0.2, 0.8, -86400, 86400):
        run(machine.follower.look())
        assert machine.lease.trusted()
        machine.day += jump
        assert not machine.lease.trusted()


def test_time_stopped_counts(machine):
    """SIGSTOP stops a process, not this clock; a suspended machine neither."""
    assert machine.lease.elapsed is not None
    assert abs(ocsp_memory.elapsed() - ocsp_memory.elapsed()) < 1
    kept(machine)
    look = machine.follower.look()
    look.send(None)
    machine.elapsed += 5.0  # between reading the clock and reading the events
    run(look)
    assert not machine.lease.trusted()


def test_an_event_empties_its_slot_wherever_it_is_held(machine):
    one, other = kept(machine, 1), kept(machine, 2)
    machine.ledger.change(1, machine.elapsed)
    run(machine.follower.look())
    assert one.answer is None
    assert other.answer is not None
    assert machine.memory.find(cert_id(1)) is None


def test_a_read_that_an_event_overtook_is_not_kept(machine):
    machine.step("read", 1, 0, 0.0)
    machine.ledger.change(1, machine.elapsed)
    run(machine.follower.look())
    machine.step("keep", 1, 0, 0.0)
    assert machine.memory.find(cert_id(1)) is None


def test_a_restored_ledger_empties_everything(machine):
    machine.ledger.change(1, machine.elapsed)
    run(machine.follower.look())
    slot = kept(machine, 2)
    machine.ledger.events_.clear()
    run(machine.follower.look())
    assert slot.answer is None
    assert machine.lease.sequence == 0


def test_very_many_events_at_once_are_not_read(machine, monkeypatch):
    monkeypatch.setattr(follower_module, "MOST_EVENTS", 2)
    slot = kept(machine, 2)
    for _ in range(3):
        machine.ledger.change(1, machine.elapsed)
    run(machine.follower.look())
    assert slot.answer is None
    assert machine.lease.sequence == 3


def test_the_oldest_makes_room(machine, monkeypatch):
    monkeypatch.setattr(ocsp_memory, "MOST_ANSWERS", 2)
    first = kept(machine, 1)
    second = kept(machine, 2)
    third = kept(machine, 3)
    assert first.answer is None
    assert None not in (second.answer, third.answer)
    assert len(machine.memory) == 2
    assert len(machine.memory._by_serial) == 2

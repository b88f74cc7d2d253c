"""What `follow` makes of a server that is slow, stale, false or away."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "revocation"))

from crl_made import BASE, HOUR, NOW, OTHER, ROOT, made

from est_server.cli import follow_command, follow_keeper, follow_wanted
from est_server.cli.follow_command import Command
from est_server.cli.follow_keeper import Keeper, Source
from est_server.cli.follow_told import Told
from est_server.errors import BackendUnavailable, Denied
from est_server.revocation import gateway
from est_server.wire.crl import encode_entry
from est_server.wire.crl_reading import read_crl
from est_server.wire.event_stream import EventReader, StreamEvent, encode_event

LISTS = {"ca": {"delta": True, "complete": "revocation"}}
WAIT = 20.0


def whole(number, *serials, key=ROOT.key, **fields):
    entries = [encode_entry(serial, NOW - HOUR, "superseded", None) for serial in serials]
    return made(replace(BASE, only_at=None, number=number, **fields), entries, key)


class FakeRemote:
    """A server whose every answer a test chooses."""

    def __init__(self):
        self.lists = {"ca.crl": whole(1)}
        self.like = LISTS
        self.failure = None
        self.recently = []
        self.position = "7"
        self.fetched = 0
        self.positions = []
        self.octets = asyncio.Queue()

    async def fetch(self, name):
        self.fetched += 1
        if self.failure is not None:
            raise self.failure
        return self.lists[name]

    def forget(self, name):
        pass

    async def recent(self, position, within):
        if self.failure is not None:
            raise self.failure
        return (self.recently if position else []), self.like

    @asynccontextmanager
    async def stream(self, position):
        self.positions.append(position)
        reader = EventReader(position)
        self.send("", position or self.position)
        yield FakeStream(self, reader)

    def send(self, kind, number, **data):
        text = json.dumps(data) if data else ""
        self.octets.put_nowait(encode_event(StreamEvent(text, kind or "message", str(number))))


class FakeStream:
    def __init__(self, remote, reader):
        self.remote, self.reader = remote, reader

    async def next(self):
        octets = await self.remote.octets.get()
        if octets is None:
            raise BackendUnavailable("remote.closed", "ended", retry_after=0)
        return self.reader.take(octets)


class Now:
    now = NOW


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    time = Now()
    monkeypatch.setattr(follow_keeper, "system_clock", lambda: time.now)
    for module in (follow_keeper, follow_command):
        monkeypatch.setattr(module, "_SHORTEST_BACKOFF", 0.05)
    return time


@pytest.fixture
def remote():
    return FakeRemote()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "clients.crl"


def keeper(remote, target, command=None, **options):
    told = Told("table")
    runs = None if command is None else Command(command, target, told)
    settings = {"form": "pem", "deltas": False, **options}
    sources = settings.pop("sources", (Source("ca", ROOT.certificate),))
    return Keeper(remote, sources, target, command=runs, told=told, **settings)


def numbers(target):
    if not target.exists():
        return []
    return [read_crl(der).number for der in gateway.lists_in(target.read_bytes())]


async def reached(condition):
    async with asyncio.timeout(WAIT):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@asynccontextmanager
async def running(one):
    await one.begin()
    tasks = [asyncio.create_task(one.keep()), asyncio.create_task(one.listen())]
    try:
        yield
        for task in tasks:
            assert not task.done(), task
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def event(serial, action="revoked", ca="ca"):
    return {"event": action, "ca": ca, "serial": f"{serial:x}"}


# -- the file --------------------------------------------------------------------------------------


async def test_once_writes_the_file_and_again_leaves_it_alone(remote, target):
    one = keeper(remote, target)
    await one.begin()
    await one.once()
    assert numbers(target) == [1]
    written = target.stat().st_ino
    again = keeper(remote, target, "exit 1")
    await again.begin()
    await again.once()
    assert target.stat().st_ino == written, "nothing changed: the command is not run either"


async def test_what_is_false_or_older_replaces_nothing(remote, target, capsys):
    one = keeper(remote, target)
    remote.lists["ca.crl"] = whole(5)
    async with running(one):
        await reached(lambda: numbers(target) == [5])
        before = target.read_bytes()
        for bad in (whole(9, key=OTHER.key), whole(4), b"\x30\x00", whole(9, next_update=NOW)):
            remote.lists["ca.crl"], fetched = bad, remote.fetched
            one._backoff = 0.0
            one._wake.set()
            await reached(lambda at=fetched: remote.fetched > at)
            await asyncio.sleep(0)
            assert target.read_bytes() == before
        remote.lists["ca.crl"] = whole(10)
        one._wake.set()
        await reached(lambda: numbers(target) == [10])
    told = capsys.readouterr().err
    assert "crl.signature" in told
    assert "follow.older: its number is 4, and 5 is here already" in told
    assert "ca base: works again" in told


async def test_a_restart_does_not_go_back_behind_the_file(remote, target):
    remote.lists["ca.crl"] = whole(5)
    one = keeper(remote, target)
    await one.begin()
    await one.once()
    remote.lists["ca.crl"] = whole(4)
    again = keeper(remote, target)
    await again.begin()
    with pytest.raises(Denied, match=r"follow\.older"):
        await again.once()
    assert numbers(target) == [5]


async def test_without_every_list_there_is_no_file(remote, target, tmp_path):
    offline = tmp_path / "root.crl"
    sources = (
        Source("ca", ROOT.certificate),
        Source(str(offline), ROOT.certificate, offline),
    )
    one = keeper(remote, target, sources=sources)
    await one.begin()
    with pytest.raises(FileNotFoundError):
        await one.once()
    assert not target.exists()
    offline.write_bytes(whole(3))
    await one.once()
    assert numbers(target) == [1, 3]


# -- events ----------------------------------------------------------------------------------------


async def test_an_event_comes_before_its_list_and_is_waited_for(remote, target):
    async with running(keeper(remote, target)) as _:
        await reached(lambda: numbers(target) == [1])
        remote.send("revoked", 8, **event(5))
        fetched = remote.fetched
        await reached(lambda: remote.fetched >= fetched + 3)
        assert numbers(target) == [1]
        remote.lists["ca.crl"] = whole(2, 5)
        await reached(lambda: numbers(target) == [2])


async def test_a_release_is_waited_for_until_the_list_has_it_no_more(remote, target):
    remote.lists["ca.crl"] = whole(2, 5)
    async with running(keeper(remote, target)):
        await reached(lambda: numbers(target) == [2])
        remote.send("released", 8, **event(5, "released"))
        fetched = remote.fetched
        await reached(lambda: remote.fetched >= fetched + 3)
        remote.lists["ca.crl"] = whole(3)
        await reached(lambda: numbers(target) == [3])
        await asyncio.sleep(0)
        quiet = remote.fetched
        for _ in range(3):
            await asyncio.sleep(follow_keeper._PAUSE)
        assert remote.fetched <= quiet + 1, "nothing is left to wait for"


async def test_what_happened_just_before_the_start_is_waited_for_too(remote, target):
    remote.recently = [event(5)]
    async with running(keeper(remote, target)):
        fetched = remote.fetched
        await reached(lambda: remote.fetched >= fetched + 4)
        remote.lists["ca.crl"] = whole(2, 5)
        await reached(lambda: numbers(target) == [2])


async def test_what_no_list_ever_shows_is_told(remote, target, monkeypatch, capsys):
    monkeypatch.setattr(follow_wanted, "SHOWN_WITHIN", 0.3)
    one = keeper(remote, target)
    async with running(one):
        for serial in (5, 6):
            remote.send("revoked", 3 + serial, **event(serial))
        await reached(lambda: "ca events" in one.told._wrong)
    assert "follow.not-shown: no list shows 5, nor 1 more after" in capsys.readouterr().err


async def test_a_stream_that_ends_is_opened_again_behind_the_last_event(remote, target):
    one = keeper(remote, target)
    async with running(one):
        remote.send("revoked", 8, **event(5, ca="another"))
        remote.octets.put_nowait(None)
        await reached(lambda: remote.positions == ["", "8"])
        remote.octets.put_nowait(None)
        await reached(lambda: remote.positions == ["", "8", "8"])


async def test_without_a_stream_lists_are_looked_at_all_the_same(remote, target, monkeypatch):
    """All streams may be taken: then it is as slow as a poll, and not as a list's half life."""

    @asynccontextmanager
    async def busy(position):
        remote.positions.append(position)
        raise BackendUnavailable("remote.failed", "503", retry_after=0)
        yield

    monkeypatch.setattr(remote, "stream", busy)
    async with running(keeper(remote, target)):
        await reached(lambda: numbers(target) == [1])
        remote.lists["ca.crl"] = whole(2)
        await reached(lambda: numbers(target) == [2])


async def test_a_position_without_events_is_kept_as_well(remote, target):
    async with running(keeper(remote, target)):
        await reached(lambda: remote.positions == [""])
        remote.octets.put_nowait(None)
        await reached(lambda: remote.positions == ["", "7"])


@pytest.mark.parametrize("data", ["[]", "{}", '{"serial": "x"}', "nonsense", '{"ca": "ca"}'])
async def test_an_event_that_can_not_be_read_ends_nothing(remote, target, data, capsys):
    one = keeper(remote, target)
    async with running(one):
        remote.octets.put_nowait(encode_event(StreamEvent(data, "revoked", "8")))
        await reached(lambda: len(remote.positions) == 2)
        remote.lists["ca.crl"] = whole(2, 5)
        remote.send("revoked", 9, **event(5))
        await reached(lambda: numbers(target) == [2])
    assert "follow.event" in capsys.readouterr().err


async def test_lists_are_renewed_without_any_event(remote, target, clock, monkeypatch):
    monkeypatch.setattr(gateway, "_STEPS", (timedelta(0), timedelta(seconds=0.05)))
    async with running(keeper(remote, target)):
        await reached(lambda: numbers(target) == [1])
        clock.now = NOW + timedelta(minutes=59)
        remote.lists["ca.crl"] = whole(2, this_update=NOW, next_update=NOW + 2 * HOUR)
        remote.send("reset", 7, newest=7)  # wakes it once, as the real clock would
        await reached(lambda: numbers(target) == [2])
        clock.now = NOW + timedelta(minutes=90)
        remote.lists["ca.crl"] = whole(3, this_update=NOW, next_update=NOW + 2 * HOUR)
        remote.send("reset", 7, newest=7)
        await reached(lambda: numbers(target) == [3])
        remote.lists["ca.crl"] = whole(4, this_update=NOW, next_update=NOW + 2 * HOUR)
        await reached(lambda: numbers(target) == [4])  # by itself: half of its life is over


async def test_a_server_that_is_away_is_asked_until_it_is_back(remote, target, capsys):
    one = keeper(remote, target)
    remote.failure = BackendUnavailable("remote.unreachable", "gone")
    with pytest.raises(BackendUnavailable):
        await one.begin()
    begun = asyncio.create_task(one.begin_patiently())
    await reached(lambda: "feed" in one.told._wrong)
    remote.failure = None
    async with asyncio.timeout(WAIT):
        await begun
    await one.once()
    assert numbers(target) == [1]
    assert capsys.readouterr().err.count("remote.unreachable") == 1, "told once"


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("like", "rule"),
    [
        ({}, r"follow\.ca"),
        ({"ca": "yes"}, r"follow\.ca"),
        ({"ca": {"delta": True, "complete": "interval"}}, r"follow\.deltas"),
    ],
)
async def test_lists_that_are_of_no_use_for_the_file(remote, target, like, rule):
    remote.like = like
    with pytest.raises(Denied, match=rule):
        await keeper(remote, target).begin()


async def test_with_deltas_the_file_has_both_lists(remote, target):
    remote.like = {"ca": {"delta": True, "complete": "interval"}}
    delta = replace(BASE, only_at=None, number=2, base_number=1, freshest=())
    remote.lists["ca-delta.crl"] = made(delta, [encode_entry(5, NOW - HOUR, "superseded", None)])
    one = keeper(remote, target, deltas=True)
    await one.begin()
    await one.once()
    assert numbers(target) == [1, 2]
    remote.lists["ca-delta.crl"] = made(replace(delta, number=9, base_number=8))
    with pytest.raises(Denied, match=r"delta\.gap"):
        await one.once()


# -- the command -----------------------------------------------------------------------------------


async def test_a_command_that_fails_is_told_and_run_again(remote, target, tmp_path, capsys):
    ran = tmp_path / "ran"
    command = f'echo x >> {ran}; test "$CRL_FILE" = {target} && test $(wc -l < {ran}) -ge 2'
    one = keeper(remote, target, command)
    async with running(one):
        await reached(lambda: ran.exists() and ran.read_text() == "x\nx\n")
        await reached(lambda: not one.command.wanted)
    told = capsys.readouterr().err
    assert "exec: follow.exec: --exec ended with 1" in told
    assert "exec: works again" in told


async def test_once_fails_with_its_command_and_says_what_it_said(remote, target):
    one = keeper(remote, target, "echo 'no such' directive >&2; exit 3")
    await one.begin()
    with pytest.raises(Denied, match="ended with 3: no such directive"):
        await one.once()


async def test_a_command_that_hangs_is_ended(target, monkeypatch):
    monkeypatch.setattr(follow_command, "_SECONDS", 0.2)
    with pytest.raises(Denied, match="took more than"):
        await Command("exec sleep 60", target, Told("table")).run()


async def test_commands_run_one_after_the_other_and_rest(remote, target, tmp_path):
    log = tmp_path / "log"
    command = f"echo in >> {log}; sleep 0.2; echo out >> {log}"
    async with running(keeper(remote, target, command)):
        for number in range(2, 8):
            remote.lists["ca.crl"] = whole(number, *range(10, 10 + number))
            remote.send("revoked", number + 6, **event(9 + number))
            await reached(lambda at=number: numbers(target) == [at])
        lines = log.read_text().split()
        assert lines[0::2] == ["in"] * len(lines[0::2])
        assert len(lines) < 12, "six changes in a moment are not six runs"


async def test_a_file_that_can_not_be_written_is_told_and_tried_again(
    remote, target, monkeypatch, capsys
):
    real = follow_keeper.replace_durably

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(follow_keeper, "replace_durably", full)
    one = keeper(remote, target)
    async with running(one):
        await reached(lambda: "file" in one.told._wrong)
        monkeypatch.setattr(follow_keeper, "replace_durably", real)
        await reached(lambda: numbers(target) == [1])
    assert "No space left on device" in capsys.readouterr().err

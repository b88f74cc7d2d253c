"""CAs that can't be used: why, and until when."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from est_server.app import authorities as room
from est_server.app.authorities import Authorities, open_authorities
from est_server.errors import BackendUnavailable


@dataclass
class Ca:
    """A backend and its authority; `trouble` has what opening and connecting meet, in turn."""

    trouble: list = field(default_factory=list)
    closed: int = 0
    opened: int = 0

    def open(self, settings, context):
        self.opened += 1
        return self

    async def connect(self):
        if self.trouble:
            found = self.trouble.pop(0)
            if found == "hang":
                await asyncio.sleep(3600)
            raise found

    def certificates(self):
        return "certificates"

    async def close(self):
        self.closed += 1


AWAY = BackendUnavailable("ca.unreachable", "nobody answers", hint="start it")


def configured(**cas):
    settings = {name: (ca, None) for name, ca in cas.items()}
    return SimpleNamespace(ca_settings=settings, base=Path())


@pytest.fixture
def clock(monkeypatch):
    """Time that a test moves."""
    now = SimpleNamespace(at=room.system_clock())
    monkeypatch.setattr(room, "system_clock", lambda: now.at)
    return now


async def test_one_that_is_away_is_tried_again_with_growing_pauses(clock):
    good, away = Ca(), Ca([AWAY] * 3)
    cas = Authorities(configured(good=good, away=away))
    assert await cas.connect() == ["good"]
    assert cas.broken == {"away": AWAY}
    tries = []
    for second in range(12):
        clock.at += timedelta(seconds=1)
        left = len(away.trouble)
        if await cas.connect() or len(away.trouble) < left:
            tries.append(second + 1)
    assert tries == [1, 3, 7], "after 1, 2 and 4 seconds"
    assert (cas.broken, sorted(cas.open)) == ({}, ["away", "good"])
    assert (good.opened, away.opened) == (1, 1), "opened once, connected until it works"


async def test_one_that_hangs_holds_nobody_up(clock, monkeypatch):
    monkeypatch.setattr(room, "_CONNECT_SECONDS", 0.05)
    cas = Authorities(configured(good=Ca(), hangs=Ca(["hang"])))
    assert await cas.connect() == ["good"]
    assert cas.broken["hangs"].rule == "ca.unreachable"


async def test_a_backend_with_a_mistake_is_a_broken_ca(clock):
    cas = Authorities(configured(bad=Ca([KeyError("x")])))
    await cas.connect()
    assert cas.broken["bad"].rule == "ca.failed"
    assert "KeyError" in cas.broken["bad"].hint
    assert "KeyError" not in cas.broken["bad"].message, "devices are told nothing of the inside"


async def test_what_needs_a_broken_ca_is_unavailable(clock):
    cas = Authorities(configured(good=Ca(), away=Ca([AWAY])))
    assert cas.unavailable("good").rule == "ca.unavailable", "before it was tried"
    await cas.connect()
    assert cas.unavailable("good") is None
    assert cas.unavailable("away") is AWAY


async def test_a_ca_that_does_not_fit_the_configuration_is_taken_back(clock):
    cas = Authorities(configured(good=Ca(), other=Ca()))
    await cas.connect()
    cas.refuse(["other"], ValueError("server.yaml:3:5: error[E270]"))
    assert sorted(cas.open) == ["good"]
    assert "E270" in cas.broken["other"].message


async def test_a_command_that_needs_all_of_them_says_which_is_away(clock):
    good = Ca()
    with pytest.raises(BackendUnavailable, match="nobody answers"):
        await open_authorities(configured(good=good, away=Ca([AWAY])))
    assert good.closed == 1


async def test_all_are_closed(clock):
    good, away = Ca(), Ca([AWAY])
    cas = Authorities(configured(good=good, away=away))
    await cas.connect()
    await cas.close()
    assert (good.closed, away.closed) == (1, 1)

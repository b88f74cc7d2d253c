"""Every CA backend, case by case; `make ca-table` prints what each of them shows."""

from __future__ import annotations

from ca_worlds import (
    EstForgetfulWorld,
    EstUpstreamWorld,
    ForgetfulWorld,
    OpenBaoWorld,
    RepeatingWorld,
    ScriptedWorld,
    SoftWorld,
)

from est_server.testing import CaContract


class TestSoft(CaContract):
    backend = "soft"
    world = SoftWorld


class TestScripted(CaContract):
    backend = "scripted"
    world = ScriptedWorld


class TestScriptedThatRepeats(CaContract):
    backend = "scripted-repeats"
    world = RepeatingWorld


class TestScriptedThatForgets(CaContract):
    backend = "scripted-forgets"
    world = ForgetfulWorld


class TestOpenBao(CaContract):
    backend = "openbao"
    world = OpenBaoWorld


class TestEstUpstream(CaContract):
    backend = "est_upstream"
    world = EstUpstreamWorld


class TestEstUpstreamThatForgets(CaContract):
    backend = "est_upstream-forgets"
    world = EstForgetfulWorld

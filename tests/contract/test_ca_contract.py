"""Every CA backend, case by case; `make ca-table` prints what each of them shows."""

from __future__ import annotations

import pytest
from ca_worlds import (
    AcmeWorld,
    AwsPcaWorld,
    EstForgetfulWorld,
    EstUpstreamWorld,
    ForgetfulWorld,
    GoogleCasWorld,
    MotoWorld,
    OpenBaoWorld,
    PebbleWorld,
    Pkcs11World,
    RepeatingWorld,
    ScriptedWorld,
    SoftWorld,
)
from pebble import PACKAGE, PROGRAM
from pkcs11_tokens import MODULE

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


class TestGoogleCas(CaContract):
    backend = "google_cas"
    world = GoogleCasWorld


class TestEstUpstream(CaContract):
    backend = "est_upstream"
    world = EstUpstreamWorld


class TestEstUpstreamThatForgets(CaContract):
    backend = "est_upstream-forgets"
    world = EstForgetfulWorld


@pytest.mark.usefixtures("_softhsm")
class TestPkcs11(CaContract):
    backend = "pkcs11"
    world = Pkcs11World


@pytest.fixture
def _softhsm(need):
    need("softhsm2", MODULE, "softhsm2-util")


class TestAwsPca(CaContract):
    backend = "aws_pca"
    world = AwsPcaWorld


class TestAwsPcaAtMoto(CaContract):
    backend = "aws_pca-moto"
    world = MotoWorld


class TestAcmeUpstream(CaContract):
    backend = "acme_upstream"
    world = AcmeWorld


@pytest.mark.usefixtures("_pebble")
class TestAcmeUpstreamOnPebble(CaContract):
    backend = "acme_upstream-pebble"
    world = PebbleWorld


@pytest.fixture
def _pebble(need):
    need(PACKAGE, PROGRAM)

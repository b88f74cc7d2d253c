"""A server that takes toy evidence."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest
from attestation_world import POLICIES, attested, toy_asker
from est_process import COMMAND, initialise, serving
from toy import SLOW_OID, install

if TYPE_CHECKING:
    from asker import Asker


@pytest.fixture(scope="session")
def plugin(tmp_path_factory):
    """Return a folder for PYTHONPATH with a verifier of somebody else's in it."""
    return install(tmp_path_factory.mktemp("site-packages"))


@pytest.fixture(scope="session")
def new_toy_server(tmp_path_factory):
    """Return a function that makes a server with toy policies."""

    def new():
        return attested(
            initialise(tmp_path_factory.mktemp("toys") / "server", "--interop"),
            {
                "toys": ("toys", {}),
                "other": ("toys", {}),
                "fleet": (
                    "toys",
                    {
                        "registration": "automatic",
                        "attestation": {"policy": "toys", "keep_evidence": "1d"},
                    },
                ),
                "slow": ("slow", {}),
                "queue": ("queue", {"approval": {"mode": "manual", "when": "false"}}),
            },
            POLICIES,
            verifiers={"slow-toy": {"statement_type": SLOW_OID}},
            time_limit="1s",
            most_nonces_per_client="100000",
        )

    return new


@pytest.fixture(scope="session")
def toy_server(new_toy_server, plugin):
    with serving(new_toy_server(), PYTHONPATH=str(plugin)) as server:
        yield server


@pytest.fixture(scope="session")
def est(toy_server, plugin):
    """Return a function that runs a command and returns what it prints."""

    def run(code, *arguments):
        done = subprocess.run(
            [*COMMAND, *arguments, "-c", str(toy_server.config)],
            env={**os.environ, "PYTHONPATH": str(plugin)}, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session", params=["1.2", "1.3"])
def toys(request, toy_server, plugin, tmp_path_factory) -> Asker:
    """Return somebody with a credential at label `toys`, over each TLS version."""
    return toy_asker(toy_server, tmp_path_factory, plugin, request.param)

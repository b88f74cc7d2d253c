"""The laboratory: one server with every profile of `profiles/`, and raw connections to it."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING

import pytest
import yaml
from asker import Asker
from est_process import EstServer, initialise, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILES = Path(__file__).parent / "profiles"


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory) -> Iterator[EstServer]:
    """Serve `init --interop` with every profile of `profiles/` beside its own."""
    server = initialise(tmp_path_factory.mktemp("lab") / "server", "--interop")
    for profile in PROFILES.glob("*.yaml"):
        copy(profile, server.directory / "profiles")
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    settings["limits"] = {"body_timeout": "1s", "attempts_per_address": "100000/1s"}
    server.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    with serving(server):
        yield server


@pytest.fixture(scope="session")
def credential(lab_server) -> tuple[str, str]:
    """Return a reusable credential of profile `interop`."""
    return lab_server.credential("conformance", "interop")


@pytest.fixture(scope="session", params=["1.2", "1.3"])
def lab(request, lab_server, credential, tmp_path_factory) -> Asker:
    """Return somebody with a credential, over each TLS version."""
    folder = tmp_path_factory.mktemp("askers")
    return Asker(lab_server, folder, version=request.param, credential=credential)

"""The laboratory: one server with every profile of `profiles/`, and raw connections to it."""

from __future__ import annotations

from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING

import pytest
import yaml
from asker import Asker
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import EstServer, initialise, serving
from makers import Maker, maker

if TYPE_CHECKING:
    from collections.abc import Iterator

PROFILES = Path(__file__).parent / "profiles"


@pytest.fixture(scope="session")
def acme(tmp_path_factory) -> Maker:
    """Return the manufacturer in trust store `makers`."""
    return maker(tmp_path_factory.mktemp("acme"), "Acme")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory) -> Maker:
    """Return a manufacturer that nobody trusts."""
    return maker(tmp_path_factory.mktemp("stranger"), "Stranger")


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory, acme) -> Iterator[EstServer]:
    """Serve `init --interop` with every profile of `profiles/` beside its own."""
    server = initialise(tmp_path_factory.mktemp("lab") / "server", "--interop")
    for profile in PROFILES.glob("*.yaml"):
        copy(profile, server.directory / "profiles")
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    root = acme.root.certificate.public_bytes(Encoding.PEM)
    (server.directory / "trust").mkdir(exist_ok=True)
    (server.directory / "trust" / "makers.pem").write_bytes(root)
    settings["trust"] = {"makers": "trust/makers.pem"}
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

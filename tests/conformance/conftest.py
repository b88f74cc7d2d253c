"""The laboratory: one server with every profile of `profiles/`, and raw connections to it."""

from __future__ import annotations

import json
import secrets
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from shutil import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from asker import Asker
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import COMMAND, EstServer, initialise, serving
from makers import Maker, maker

from interop.conformance.asking import common_name
from interop.conformance.connection import Endpoint
from interop.conformance.target import Options, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAUNCHER = Path(__file__).with_name("broken_server.py")
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
def webby(tmp_path_factory) -> Maker:
    """Return the CA that came with the system: trust store `system-anchors`."""
    return maker(tmp_path_factory.mktemp("webby"), "Webby")


@pytest.fixture(scope="session")
def new_lab(tmp_path_factory, acme, webby) -> Callable[[], EstServer]:
    """Return a function that makes `init --interop` with all of `profiles/`, two CAs, a proxy."""
    return lambda: _lab(tmp_path_factory.mktemp("lab"), acme, webby)


def _lab(folder: Path, acme: Maker, webby: Maker) -> EstServer:
    server = initialise(folder / "server", "--interop")
    other = initialise(folder / "other")
    for profile in PROFILES.glob("*.yaml"):
        copy(profile, server.directory / "profiles")
    settings = yaml.load(server.config.read_text(), Loader=yaml.BaseLoader)
    root = acme.root.certificate.public_bytes(Encoding.PEM)
    (server.directory / "trust").mkdir(exist_ok=True)
    (server.directory / "trust" / "makers.pem").write_bytes(root)
    (server.directory / "system.pem").write_bytes(webby.root.certificate.public_bytes(Encoding.PEM))
    settings["trust"] = {"makers": "trust/makers.pem", "system-anchors": "system"}
    settings["listeners"]["est"]["proxies"] = {"networks": ["127.0.0.2/32"]}
    settings["cas"]["other"] = {
        "backend": "soft",
        "certificate": str(other.directory / "ca" / "issuing.pem"),
        "key": f"file:{other.directory}/ca/issuing.key",
        "passphrase": f"file:{other.directory}/secrets/ca.pass",
        "chain": [str(other.root)],
    }
    settings["limits"] = {"body_timeout": "1s", "attempts_per_address": "100000/1s"}
    server.config.write_text(yaml.safe_dump(settings, sort_keys=False))
    return server


@contextmanager
def serving_lab(server: EstServer, command: tuple[str, ...]) -> Iterator[EstServer]:
    with serving(server, command, SSL_CERT_FILE=str(server.directory / "system.pem")):
        yield server


@pytest.fixture(scope="session")
def lab_server(new_lab) -> Iterator[EstServer]:
    """Serve the laboratory."""
    with serving_lab(new_lab(), COMMAND) as server:
        yield server


@pytest.fixture(scope="session")
def faulty_lab(new_lab) -> Iterator[EstServer]:
    """Serve a laboratory that takes a fault whenever it is told so."""
    with serving_lab(new_lab(), (sys.executable, str(LAUNCHER), "none")) as server:
        yield server


@pytest.fixture(scope="session")
def kit_targets(acme, tmp_path_factory) -> Callable[[EstServer], dict[str, list[Target]]]:
    """Return a function that gives a laboratory as the kit sees it, by label, over 1.2 and 1.3."""

    def targets(server: EstServer, seconds: float = 10) -> dict[str, list[Target]]:
        host, _, port = server.est.rpartition(":")
        endpoint = Endpoint(host, int(port), server.root, seconds)

        def over_both(label: str, **given: Any) -> list[Target]:
            folder = tmp_path_factory.mktemp("kit")
            if "user" not in given and "identity" not in given:
                given["user"] = server.credential(f"kit-{label}-{secrets.token_hex(3)}", label)
            options = Options(endpoint, folder, label=label, patience=min(4, seconds), **given)
            return [Target(options, "1.2"), Target(options, "1.3")]

        return {
            "interop": over_both("interop", dns="kit.example.net"),
            "bound": over_both("bound"),
            "names": over_both("names", dns="kit.example.net"),
            "silent": over_both("silent"),
            "review": over_both("review"),
            "keygen": over_both("keygen", subject=common_name("device-kit")),
            "idevid": over_both("idevid", identity=acme.device()),
        }

    return targets


@pytest.fixture
def log_line(lab_server) -> Callable[..., dict[str, Any]]:
    """Return a function that waits for the server's line about a request with these fields."""

    def find(**wanted: Any) -> dict[str, Any]:
        until = time.monotonic() + 10
        while time.monotonic() < until:
            for text in reversed((lab_server.directory / "serve.log").read_text().splitlines()):
                line = json.loads(text) if text.startswith("{") else {}
                if line.get("event") == "est.request" and wanted.items() <= line.items():
                    return line
            time.sleep(0.05)
        pytest.fail(f"no line has {wanted}")

    return find


@pytest.fixture(scope="session")
def credential(lab_server) -> tuple[str, str]:
    """Return a reusable credential of profile `interop`."""
    return lab_server.credential("conformance", "interop")


@pytest.fixture(scope="session", params=["1.2", "1.3"])
def lab(request, lab_server, credential, tmp_path_factory) -> Asker:
    """Return somebody with a credential, over each TLS version."""
    folder = tmp_path_factory.mktemp("askers")
    return Asker(lab_server, folder, version=request.param, credential=credential)

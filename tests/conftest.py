"""What every folder of tests can use: real servers, real clients, the matrix of cases."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from est_process import REPOSITORY, EstServer, initialise, serving
from matrix import Matrix
from soft_tpm import PROGRAMS, SoftTpm, soft_tpm

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_addoption(parser):
    parser.addoption(
        "--matrix", action="store_true", help="print which conformance cases pass, fail and wait"
    )
    parser.addoption("--cases", help="run the tests of these cases only, with commas between")
    parser.addoption("--matrix-file", help="write each case's outcome there, as JSON")


def pytest_configure(config):
    matrix = Matrix(
        shown=config.getoption("--matrix"),
        only=[*map(int, (config.getoption("--cases") or "").replace(",", " ").split())],
        file=config.getoption("--matrix-file"),
    )
    config.pluginmanager.register(matrix, "matrix")


@pytest.fixture(scope="session")
def interop_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    """Serve what `init --interop` makes: names as requested."""
    directory = tmp_path_factory.mktemp("interop") / "server"
    with serving(initialise(directory, "--interop")) as server:
        yield server


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EstServer]:
    """Serve what `init` makes: names from the registered device."""
    with serving(initialise(tmp_path_factory.mktemp("strict") / "server")) as server:
        yield server


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """Skip without these programs or files, and name the Debian package; fail under CI=true."""

    def check(package: str, *needed: str) -> None:
        missing = [
            name for name in needed if not (Path(name).exists() or shutil.which(name) is not None)
        ]
        if missing:
            reason = f"{', '.join(missing)} missing: apt-get install {package}"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)

    return check


@pytest.fixture(scope="session")
def run() -> Callable[..., str]:
    """Run a program of the interop folder and return its output; fail with it otherwise."""

    def runner(*command: str | Path, **environment: str) -> str:
        done = subprocess.run(
            [REPOSITORY / "interop" / command[0], *command[1:]],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"{command[0]}: exit code {done.returncode}\n{done.stdout}"
        return done.stdout

    return runner


@pytest.fixture(scope="session")
def new_server() -> Callable[..., EstServer]:
    """Return `initialise`: a server of a test's own, to be changed before it runs."""
    return initialise


@pytest.fixture(scope="session")
def serve() -> Callable[[EstServer], Any]:
    """Return `serving`: a context in which a server runs."""
    return serving


@pytest.fixture(scope="session")
def tpm_a(need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTpm]:
    """Run a TPM in software, with a manufacturer of its own."""
    need("swtpm swtpm-tools tpm2-tools", *PROGRAMS)
    with soft_tpm(tmp_path_factory.mktemp("tpm-a") / "a") as made:
        yield made


@pytest.fixture(scope="session")
def tpm_b(need, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftTpm]:
    """Run another."""
    need("swtpm swtpm-tools tpm2-tools", *PROGRAMS)
    with soft_tpm(tmp_path_factory.mktemp("tpm-b") / "b") as made:
        yield made


def pytest_make_parametrize_id(val, argname):
    """Name long octets by their argument: signatures in them differ from process to process."""
    return argname if isinstance(val, bytes) and len(val) > 12 else None

"""A real est-server as its own process."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from postgres_server import new_ledger

from est_server.config.configuration import load
from est_server.storage import ledger_place, open_ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.ports.ledger import Ledger

REPOSITORY = Path(__file__).parents[1]
_FAULT = os.environ.get("CONFORMANCE_FAULT")
_BROKEN = str(REPOSITORY / "tests" / "conformance" / "broken_server.py")
COMMAND = (sys.executable, *((_BROKEN, _FAULT) if _FAULT else ("-m", "est_server.cli")))
"""The program; with CONFORMANCE_FAULT one that is broken, for tests that must then fail."""
LEDGER = os.environ.get("LEDGER", "sqlite")
"""Where servers of tests keep their state: ``sqlite`` or ``postgres``."""
STARTS_WITHIN = 60.0  # seconds, on a machine that does other things too
STOPS_WITHIN = 30.0


@dataclass(frozen=True, slots=True)
class EstServer:
    """One initialised directory and the addresses that it listens on."""

    directory: Path
    est: str
    public: str
    admin: str

    @property
    def url(self) -> str:
        return f"https://{self.est}/.well-known/est"

    @property
    def root(self) -> Path:
        return self.directory / "ca" / "root.pem"

    @property
    def config(self) -> Path:
        return self.directory / "server.yaml"

    def ledger(self) -> Ledger:
        """Open the server's ledger, as another process would."""
        configuration = load(self.config)
        return open_ledger(ledger_place(configuration.server.state, configuration.base))

    def run(self, *arguments: str, stdin: str | None = None) -> str:
        """Run `est-server ARGUMENTS -c server.yaml` and return what it prints."""
        return est_server(*arguments, "-c", str(self.config), stdin=stdin)

    def json(self, *arguments: str, stdin: str | None = None) -> Any:
        return json.loads(self.run(*arguments, "-o", "json", stdin=stdin))

    def credential(self, username: str, profile: str, *arguments: str) -> tuple[str, str]:
        """Return (user, password) of a new reusable credential."""
        made = self.json(
            "credential", "add", username, "--profile", profile, "--uses", "unlimited", *arguments
        )
        return made["username"], made["password"]


def est_server(*arguments: str, stdin: str | None = None) -> str:
    """Run the command line and return its standard output; anything but exit code 0 fails."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=REPOSITORY,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(
            f"est-server {' '.join(arguments)}: exit code {done.returncode}\n"
            f"{done.stdout}{done.stderr}"
        )
    return done.stdout


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{opened.getsockname()[1]}" for opened in sockets]
    for opened in sockets:
        opened.close()
    return addresses


def initialise(directory: Path, *arguments: str) -> EstServer:
    """Return an initialised server that does not run yet."""
    est, public, admin = free_addresses(3)
    listeners = ("--est", est, "--public", public, "--admin", admin)
    names = ("--dns", "localhost", "--dns", "127.0.0.1")
    est_server("init", str(directory), *names, *listeners, *arguments, "--yes")
    made = EstServer(directory, est, public, admin)
    if LEDGER == "postgres":
        move_to_postgres(made)
    return made


def move_to_postgres(server: EstServer) -> None:
    """Give a server that has not run yet an empty ledger in the tests' PostgreSQL."""
    url = new_ledger(keep=True).url
    text, changed = re.subn(
        r"\n  ledger: sqlite:[^\n]*", f"\n  ledger: {url}", server.config.read_text()
    )
    assert changed == 1
    server.config.write_text(text)
    (server.directory / "state" / "ledger.db").unlink()


@contextmanager
def serving(
    server: EstServer, command: tuple[str, ...] = COMMAND, **environment: str
) -> Iterator[EstServer]:
    """Serve until the block ends; then SIGTERM must end it with exit code 0."""
    log = server.directory / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "serve", "-c", str(server.config)],
            cwd=REPOSITORY,
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _await_ready(server, process, log)
            yield server
            process.send_signal(signal.SIGTERM)
            code = process.wait(STOPS_WITHIN)
        finally:
            process.kill()
            process.wait()
    assert code == 0, f"serve ended with {code}\n{log.read_text()}"


def _await_ready(server: EstServer, process: subprocess.Popen[bytes], log: Path) -> None:
    # readiness is asked for, not identity: this OpenSSL may not know the CA's algorithm
    trust = ssl.create_default_context()
    trust.check_hostname = False
    trust.verify_mode = ssl.CERT_NONE
    until = time.monotonic() + STARTS_WITHIN
    last: object = None
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"serve ended with {process.returncode}\n{log.read_text()}")
        try:
            url = f"https://{server.admin}/readyz"
            with urllib.request.urlopen(url, context=trust, timeout=5):
                return
        except urllib.error.HTTPError as answer:
            with answer:
                last = f"{answer.code} {answer.read()!r}"
        except OSError as error:
            last = error
        time.sleep(0.1)
    pytest.fail(f"not ready after {STARTS_WITHIN} s: {last}\n{log.read_text()}")

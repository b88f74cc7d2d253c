"""A folder with a configuration that is right, to be spoiled by one test after another."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding

from est_server.config.configuration import Configuration, load
from est_server.errors import ConfigurationError, Position, Problem
from est_server.pki.authority import make_issuing, make_root, make_server_certificate

if TYPE_CHECKING:
    from pathlib import Path

SOFT = EntryPoint("soft", "backends.soft:SoftBackend", "est_server.backends")
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVER = """\
version: 1
listeners:
  public: {url: "http://pki.example.net"}
cas:
  issuing:
    backend: soft
    certificate: ca/issuing.pem
    key: file:ca/issuing.key
    passphrase: file:secrets/ca.pass
trust: {acme: trust/acme.pem}
"""
PROFILE = """\
version: 1
labels: [device, default]
ca: issuing
authenticate:
  - credential: {}
reenroll: {window: 30d}
subject:
  common_name: {from: device.id}
key: {allow: [EC-P256]}
certificate: {lifetime: 90d}
"""


@cache
def certificates() -> dict[str, str]:
    """Return PEM certificates by name: a root, an issuing CA, a server."""
    root = make_root("Root", "EC-P256", lifetime=timedelta(days=3650), now=NOW)
    issuing = make_issuing(root, "Issuing", "EC-P256", lifetime=timedelta(days=1000), now=NOW)
    server = make_server_certificate(
        issuing, ["localhost"], root.key.public_key(), lifetime=timedelta(days=30), now=NOW
    )
    made = {"root": root.certificate, "issuing": issuing.certificate, "server": server}
    return {name: one.public_bytes(Encoding.PEM).decode() for name, one in made.items()}


@dataclass
class World:
    """A folder; `load` reads it."""

    folder: Path
    backends: tuple[EntryPoint, ...] = (SOFT,)

    def write(self, name: str, text: str, mode: int = 0o644) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def read(self, name: str) -> str:
        return (self.folder / name).read_text()

    def change(self, name: str, old: str, new: str) -> None:
        text = self.read(name)
        assert old in text
        self.write(name, text.replace(old, new))

    def place(self, name: str, text: str, number: int = 1) -> Position:
        """Return where `text` is in a file for the `number`th time."""
        content, offset = self.read(name), -1
        for _ in range(number):
            offset = content.index(text, offset + 1)
        before = content[:offset]
        line = before.count("\n") + 1
        return Position(str(self.folder / name), line, offset - before.rfind("\n"))

    def load(self) -> Configuration:
        return load(self.folder / "server.yaml", backends=self.backends)

    def problems(self) -> tuple[Problem, ...]:
        """Return what is wrong, or what is worth a look."""
        try:
            return self.load().warnings
        except ConfigurationError as error:
            return error.problems

    def only(self) -> Problem:
        """Return the one problem there is."""
        found = self.problems()
        assert len(found) == 1, [str(problem) for problem in found]
        return found[0]


def world(folder: Path) -> World:
    """Return a folder without a problem."""
    made = World(folder)
    pem = certificates()
    made.write("server.yaml", SERVER)
    made.write("profiles/device.yaml", PROFILE)
    made.write("trust/acme.pem", pem["root"])
    made.write("ca/issuing.pem", pem["issuing"])
    made.write("tls/server.pem", pem["server"] + pem["issuing"])
    for secret in (
        "ca/issuing.key",
        "secrets/ca.pass",
        "secrets/credentials.key",
        "tls/server.key",
    ):
        made.write(secret, "secret\n", 0o600)
    return made


def codes(problems: Any) -> list[str]:
    return [problem.code for problem in problems]

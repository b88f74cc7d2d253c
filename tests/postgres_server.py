"""A PostgreSQL server of the tests' own: a new cluster in a new folder, on a Unix socket."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from est_server.storage.postgres_server import PostgresServer
from est_server.storage.schema import upgrade_schema

INSTALLED = Path("/usr/lib/postgresql")
USER = "postgres"
_KEPT = 20  # databases that a test may still want, without being connected now


def programs() -> Path | None:
    """Return the folder of initdb and postgres of the newest release that is installed."""
    found = sorted(INSTALLED.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    return found[-1].parent if found else None


def _run(*command: str | Path) -> None:
    """Run a program as somebody whom postgres lets run it: not root."""
    subprocess.run(command, check=True, capture_output=True, timeout=120, **_as_nobody_much())


def _as_nobody_much() -> dict[str, object]:
    return {"user": USER, "group": USER, "extra_groups": []} if os.geteuid() == 0 else {}


@dataclass
class Cluster:
    """A running server.

    Attributes:
        folder: its own; the socket and the log are in it.
        bin: of the programs.
        port: names the socket.
    """

    folder: Path
    bin: Path
    port: int = 5432
    user: str = "est"

    @classmethod
    def start(cls, *options: str) -> Cluster:
        """Make one and start it; `fsync` is on.

        Raises:
            FileNotFoundError: PostgreSQL is not installed.
        """
        found = programs()
        if found is None:
            raise FileNotFoundError("apt-get install postgresql")
        folder = Path(tempfile.mkdtemp(prefix="est-pg-"))  # short: sockets have 107 octets
        folder.chmod(0o711)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(USER)
            os.chown(folder, owner.pw_uid, owner.pw_gid)
        made = cls(folder, found)
        data = made.folder / "data"
        _run(
            found / "initdb", "-D", data, "-U", made.user, "-A", "trust", "-E", "UTF8",
            # a locale whose order of texts is not that of their octets, as servers have
            "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en",
            "--no-sync", "--no-instructions",
        )  # fmt: skip
        with (data / "postgresql.conf").open("a") as conf:
            conf.write(
                f"listen_addresses = ''\nunix_socket_directories = '{folder}'\n"
                f"unix_socket_permissions = 0777\nport = {made.port}\nmax_connections = 60\n"
            )
            conf.writelines(f"{option}\n" for option in options)
        made.up()
        return made

    def up(self) -> None:
        """Start it, and wait until it takes connections."""
        _run(
            self.bin / "pg_ctl", "-D", self.folder / "data", "-l", self.folder / "log",
            "-w", "-t", "60", "start",
        )  # fmt: skip

    def down(self, mode: str = "fast") -> None:
        """Stop it: ``fast`` cuts connections, ``immediate`` is a crash."""
        _run(self.bin / "pg_ctl", "-D", self.folder / "data", "-m", mode, "-w", "stop")

    def remove(self) -> None:
        """Stop it and remove its files."""
        pid = self.folder / "data" / "postmaster.pid"
        if pid.exists():
            self.down("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement and return what psql shows of it."""
        done = subprocess.run(
            (
                self.bin / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
                "-h", self.folder, "-p", str(self.port), "-U", self.user, "-d", database,
                "-c", statement,
            ),
            check=True, capture_output=True, text=True, timeout=7200,
        )  # fmt: skip
        return done.stdout.strip()

    def database(self, options: str = "", prefix: str = "d") -> str:
        """Make an empty database and return its name."""
        name = f"{prefix}{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name} {options}")
        return name

    def url(self, database: str) -> str:
        """Return the URL of a database."""
        return f"postgresql://{self.user}@/{database}?host={self.folder}&port={self.port}"

    def place(self, database: str, **options: object) -> PostgresServer:
        """Return the place of a ledger in a database."""
        return PostgresServer(self.url(database), **options)

    def cut(self, database: str) -> int:
        """Cut every connection to a database and return how many there were."""
        return int(
            self.sql(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                f" WHERE datname = '{database}'"
            )
        )


@cache
def shared() -> Cluster:
    """Return the server of this process' tests, which ends with it.

    Skips without PostgreSQL; fails under CI=true.
    """
    try:
        # what a crash of the machine leaves is not asked here; one of postgres itself it survives
        cluster = Cluster.start("fsync = off", "full_page_writes = off")
    except FileNotFoundError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"PostgreSQL is missing: {error}")
        pytest.skip(f"PostgreSQL is missing: {error}")
    atexit.register(cluster.remove)
    return cluster


@cache
def _shipped() -> str:
    """Make a database with this release's schema; others are copies of it, named after it."""
    cluster = shared()
    name = cluster.database()
    upgrade_schema(cluster.place(name))
    return name


_LEFT = """
SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname LIKE '{}x%'
 AND datname NOT IN (SELECT datname FROM pg_stat_activity WHERE datname IS NOT NULL)
"""


def new_ledger(*, keep: bool = False) -> PostgresServer:
    """Return the place of a ledger that is empty, on the shared server.

    Those that nobody is connected to any more are dropped unless they are kept: each has some ten
    megabytes.
    """
    cluster, name = shared(), _shipped()
    for drop in cluster.sql(_LEFT.format(name)).splitlines()[:-_KEPT]:
        cluster.sql(drop)
    return cluster.place(
        cluster.database(
            f"TEMPLATE {name} STRATEGY file_copy", prefix=f"{name}{'k' if keep else 'x'}"
        )
    )


def wait_until(done, within: float = 30.0) -> None:
    """Wait until `done` returns true."""
    end = time.monotonic() + within
    while not done():
        if time.monotonic() > end:
            raise TimeoutError("it did not come")
        time.sleep(0.02)

"""A real PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from est_server.storage.postgres_server import PostgresServer

PROGRAM = "/usr/sbin/pgbouncer"


@contextmanager
def pooled(
    place: PostgresServer, socket_folder, folder: Path, size: int
) -> Iterator[PostgresServer]:
    """Return the same database behind a pool of `size` connections; skips without PgBouncer."""
    program = shutil.which("pgbouncer") or PROGRAM
    if not Path(program).exists():
        if os.environ.get("CI") == "true":
            pytest.fail("PgBouncer is missing: apt-get install pgbouncer")
        pytest.skip("PgBouncer is missing: apt-get install pgbouncer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user, _, rest = place.url.partition("://")[2].partition("@/")
    database = rest.partition("?")[0]
    folder.chmod(0o755)
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"[databases]\n* = host={socket_folder}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n"
        f"default_pool_size = {size}\nmax_client_conn = 100\n"
        f"[databases]\n{database} = host={socket_folder} user={user}\n"
    )
    settings.chmod(0o644)
    for parent in folder.parents[:3]:  # it runs as somebody else
        if parent.owner() == folder.owner():
            parent.chmod(parent.stat().st_mode | 0o011)
    root = {"user": "postgres", "group": "postgres"} if os.geteuid() == 0 else {}
    with (folder / "pgbouncer.log").open("wb") as log:
        process = subprocess.Popen([program, settings], stdout=log, stderr=log, **root)
        try:
            _await(process, port, folder / "pgbouncer.log")
            yield replace(place, url=f"postgresql://{user}@127.0.0.1:{port}/{database}", tls=False)
        finally:
            process.terminate()
            process.wait(30)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if process.poll() is not None:
            pytest.fail(f"pgbouncer ended: {log.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail("pgbouncer does not listen")

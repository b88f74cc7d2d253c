"""A server with workers, and clients that never stop asking."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from device_world import csr, issued, post, session
from est_process import COMMAND, REPOSITORY, EstServer, initialise

WITHIN = 60.0


def until(what, told, within=WITHIN):
    """Return what `told` says once it says something."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        if found := told():
            return found
        time.sleep(0.02)
    return pytest.fail(f"{what}: not within {within} s")


@dataclass
class Supervised:
    """A supervisor that runs.

    Attributes:
        server: its addresses are those that it took.
        process: the supervisor.
        log: its own and its workers'.
    """

    server: EstServer
    process: subprocess.Popen[bytes]
    log: Path

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [line for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def workers(self) -> list[int]:
        """Return the processes that are its children now and have said that they are ready."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        children = [*map(int, path.read_text().split())]
        ready = {event["pid"] for event in self.events("server.ready")}
        return [pid for pid in children if pid in ready]

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def other_workers(self, than: list[int], count: int = 2) -> list[int]:
        """Return its workers once there are `count` and none is among these."""

        def told():
            found = self.workers()
            return len(found) == count and not set(found) & set(than) and found

        return until("new workers", told)


def on_any_port(directory: Path, *arguments: str) -> EstServer:
    """Return an initialised server whose ports are taken at the start."""
    server = initialise(directory, *arguments)
    text = server.config.read_text()
    for address in (server.est, server.public, server.admin):
        text = text.replace(f'listen: "{address}"', 'listen: "127.0.0.1:0"')
    server.config.write_text(text)
    return server


@contextmanager
def supervised(server: EstServer, *options: str, workers: int = 2, **environment: str):
    """Serve with workers until the block ends; then SIGTERM must end it with exit code 0."""
    log = server.directory / f"workers-{time.monotonic_ns()}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*COMMAND, "serve", "-c", str(server.config), "--workers", str(workers), *options],
            cwd=REPOSITORY, env={**os.environ, **environment},
            stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
    site = Supervised(server, process, log)
    try:
        started = until(
            "its workers",
            lambda: site.events("workers.supervised") or process.poll() is not None,
        )
        assert process.poll() is None, log.read_text()
        assert started
        ready = site.events("server.ready")[0]
        taken = {name: ready[name] for name in ("est", "public", "admin") if ready.get(name)}
        site.server = replace(server, **taken)
        yield site
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            assert process.wait(WITHIN) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


@dataclass
class Clients:
    """What became of the requests of clients that connect anew for each.

    Attributes:
        enrolled: how many certificates there are.
        broken: failures of a connection, each of which was repeated.
        refused: answers that were none.
    """

    enrolled: int = 0
    broken: list[str] = field(default_factory=list)
    refused: list[tuple[int, bytes]] = field(default_factory=list)

    async def more(self, count: int = 10) -> None:
        """Return when so many more have succeeded."""
        wanted = self.enrolled + count
        async with asyncio.timeout(WITHIN):
            while self.enrolled < wanted:  # noqa: ASYNC110 - a poll with a deadline
                await asyncio.sleep(0.01)


@asynccontextmanager
async def clients(site: Supervised, login: tuple[str, str], count: int = 4):
    """Let clients enroll, each over a new connection for each request, until the block ends."""
    seen, end = Clients(), asyncio.Event()

    async def one(number: int) -> None:
        round_ = 0
        while not end.is_set():
            round_ += 1
            body = csr(f"w-{number}-{round_}", ec.generate_private_key(ec.SECP256R1()))
            while True:
                async with session(site.server, login) as client:
                    try:
                        status, answer, _ = await post(client, site.server, body)
                    except (aiohttp.ClientError, ConnectionError) as error:
                        seen.broken.append(f"{type(error).__name__}: {error}")
                        continue  # the same request again: it gets the same certificate
                break
            if status == 200:
                issued(answer)
                seen.enrolled += 1
            else:
                seen.refused.append((status, answer))

    tasks = [asyncio.create_task(one(number)) for number in range(count)]
    try:
        await seen.more()
        yield seen
        await seen.more()
    finally:
        end.set()
        await asyncio.gather(*tasks)

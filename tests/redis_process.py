"""A real Redis in a folder of its own, which keeps nothing."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class RedisProcess:
    """Redis on a Unix socket; started and stopped by who has it."""

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def path(self) -> Path:
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.path), "--save", "",
             "--appendonly", "no", "--dir", str(self.folder)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        end = time.monotonic() + 30
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX) as client:
                try:
                    client.connect(str(self.path))
                except OSError:
                    time.sleep(0.02)
                else:
                    return
        pytest.fail("Redis did not start")

    def stop(self) -> None:
        """End it; when it starts again it is empty."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def pause(self) -> None:
        """Let it hang: connections stay open and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)


@contextmanager
def redis(folder: Path):
    """Have a Redis, running, until the block ends."""
    made = RedisProcess(folder)
    made.start()
    try:
        yield made
    finally:
        made.stop()

"""How long a person waits: `est-server --help`, and `serve` until it says that it can issue."""

from __future__ import annotations

import os
import subprocess
from time import perf_counter
from typing import TYPE_CHECKING

from measure import Figure, cpu_seconds
from peers import EST_SERVER, await_ready, initialise
from report import Report

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from peers import EstDirectory


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    directory = initialise(scratch / "server")
    helps, serves = [], []
    for number in range(options.rounds + 1):
        asked, served = _help(), _serve(directory)
        if number:  # the first round fills the machine's caches
            helps.append(asked)
            serves.append(served)
    figures = [
        Figure(f"{what}, {clock}", tuple(one[at] for one in found), target, "at most")
        for what, found, limit in (
            ("est-server --help", helps, 0.3),
            ("serve until /readyz says yes", serves, 1.5),
        )
        for at, clock, target in ((0, "seconds", limit), (1, "seconds of CPU", None))
    ]
    return Report("start", f"{options.rounds} starts of each", (), tuple(figures))


def _help() -> tuple[float, float]:
    started = perf_counter()
    process = subprocess.Popen([EST_SERVER, "--help"], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"est-server --help ended with {process.returncode}")
    return wall, usage.ru_utime + usage.ru_stime


def _serve(directory: EstDirectory) -> tuple[float, float]:
    log = directory.path / "serve.log"
    with log.open("wb") as output:
        started = perf_counter()
        command = [EST_SERVER, "serve", "-c", str(directory.config)]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            await_ready(process, directory.ready, log)
            found = perf_counter() - started, cpu_seconds(process.pid)
            process.terminate()
            process.wait()
        finally:
            process.kill()
            process.wait()
    return found

"""What was measured, for people and for programs."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import ssl
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.backends.openssl import backend
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from measure import Figure, Round, Rounds


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one bench.

    Attributes:
        bench: its name.
        how: one sentence on what a round was.
        contenders: rates of servers; may be empty.
        figures: what is judged.
    """

    bench: str
    how: str
    contenders: tuple[Rounds, ...]
    figures: tuple[Figure, ...]


def show(reports: Iterable[Report], directory: Path, form: str) -> None:
    """Print reports: ``table`` or ``json``."""
    if form == "json":
        print(json.dumps([_as_dict(report, directory) for report in reports], indent=2))
        return
    console = Console(width=None if Console().is_terminal else 140, highlight=False)
    facts = ", ".join(f"{key}: {value}" for key, value in machine(directory).items())
    console.print(facts, soft_wrap=True)
    for report in reports:
        console.print(f"\n{report.bench}: {report.how}", soft_wrap=True)
        if report.contenders:
            console.print(_rates(report))
        console.print(_figures(report))


def machine(directory: Path) -> dict[str, str]:
    """Return what a reader needs to know of this machine, and nothing that names it."""
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "Python": platform.python_version(),
        "OpenSSL": backend.openssl_version_text(),
        "clients' OpenSSL": ssl.OPENSSL_VERSION,
        "SQLite": sqlite3.sqlite_version,
        "disk": _filesystem(directory),
    }


def _rates(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("median (least-most)")
    columns = ("per server CPU-second", "per second", "server µs each", "server busy", "client µs")
    for column in columns:
        table.add_column(column, justify="right")
    for contender in report.contenders:
        table.add_row(
            contender.name,
            _spread(contender, lambda one: one.per_cpu_second, ",.0f"),
            _spread(contender, lambda one: one.per_second, ",.0f"),
            _median(contender, lambda one: 1e6 * one.server_cpu / one.operations, ",.0f"),
            _median(contender, lambda one: one.busy, ".0%"),
            _median(contender, lambda one: 1e6 * one.client_cpu / one.operations, ",.0f"),
        )
    return table


def _figures(report: Report) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("figure")
    for column in ("median", "least", "most", "target", ""):
        table.add_column(column, justify="right")
    for figure in report.figures:
        target = "" if figure.target is None else f"{figure.bound} {_number(figure.target)}"
        verdict = {None: "", True: "met", False: "MISSED"}[figure.met]
        least, most = min(figure.values), max(figure.values)
        numbers = (_number(value) for value in (figure.median, least, most))
        table.add_row(figure.name, *numbers, target, verdict)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _spread(contender: Rounds, read: Callable[[Round], float], form: str) -> str:
    found = [read(one) for one in contender.rounds]
    return f"{median(found):{form}} ({min(found):{form}}-{max(found):{form}})"


def _median(contender: Rounds, read: Callable[[Round], float], form: str) -> str:
    return f"{median(map(read, contender.rounds)):{form}}"


def _as_dict(report: Report, directory: Path) -> dict[str, Any]:
    return {
        "bench": report.bench,
        "how": report.how,
        "machine": machine(directory),
        "contenders": [asdict(contender) for contender in report.contenders],
        "figures": [
            {**asdict(figure), "median": figure.median, "met": figure.met}
            for figure in report.figures
        ],
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.machine()


def _filesystem(directory: Path) -> str:
    """Return the kind of file system that `directory` is on."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    path = str(directory.resolve())
    under = [(at, kind) for at, kind in mounts if f"{path}/".startswith(f"{at.rstrip('/')}/")]
    return max(under, key=lambda mount: len(mount[0]))[1]

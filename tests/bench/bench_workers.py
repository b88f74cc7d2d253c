"""Two workers beside one, on the same two cores, each with a SQLite ledger of its own.

What two workers could do at most is twice what one does. They share one writer's lock, and the
clients need a core, too: on two cores the clock tells of clients as much as of servers, so clients
keep their connections and send requests that were made before. What a request costs in CPU with two
workers beside one is the part that no client blurs.
"""

from __future__ import annotations

import re
import ssl
from functools import partial
from typing import TYPE_CHECKING

import fleet as devices
from bench_enroll import ENROLL
from clients import Traffic, running_clients
from measure import Figure, interleave
from peers import REPOSITORY, est_server, initialise
from report import Report

if TYPE_CHECKING:
    from argparse import Namespace
    from pathlib import Path

    from measure import Rounds

_FLEET = 256
_TARGET = 1.7


def run(options: Namespace, scratch: Path) -> Report:
    """Measure; see the module."""
    fleet, trusted = devices.manufacture(scratch / "fleet", _FLEET)
    profile = re.sub(r"\n  window:.*", "", (REPOSITORY / "profiles/router.yaml").read_text())
    settings = {"trust": {"acme-routers": str(trusted)}, "log": {"level": "warning"}}
    one, two = (
        initialise(scratch / name, {"router": profile}, settings) for name in ("one", "two")
    )
    with (
        running_clients(options.clients, options.threads) as clients,
        est_server(one, "--workers", "1") as alone,
        est_server(two, "--workers", "2") as both,
    ):
        contenders = [
            clients.contender(
                f"{name}, {what}",
                served.pid,
                Traffic(
                    served.address,
                    partial(devices.enroll, fleet, ssl.TLSVersion.TLSv1_3, ENROLL, keep_alive=kept),
                    keep_alive=kept,
                ),
                options.operations,
            )
            for what, kept in (("keep-alive", True), ("new connections", False))
            for name, served in (("one worker", alone), ("two workers", both))
        ]
        kept1, kept2, new1, new2 = interleave(contenders, options.rounds)
    return Report(
        "workers",
        f"{options.rounds} rounds of {options.operations} each, "
        f"{options.clients} client processes with {options.threads} connections each",
        (kept1, kept2, new1, new2),
        (*_figures("keep-alive", kept2, kept1), *_figures("new connections", new2, new1)),
    )


def _figures(what: str, two: Rounds, one: Rounds) -> list[Figure]:
    pairs = list(zip(two.rounds, one.rounds, strict=True))
    return [
        Figure(
            f"two workers / one, {what}, on the clock",
            tuple(both.per_second / alone.per_second for both, alone in pairs),
            _TARGET,
        ),
        Figure(
            f"two workers / one, {what}, twice the rate per server CPU-second",
            tuple(2 * both.per_cpu_second / alone.per_cpu_second for both, alone in pairs),
            _TARGET,
        ),
    ]

"""A second server settles what a dead one left, and nothing of a living one."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_world import NOW

from est_server.enrollment.reconcile import reconcile
from est_server.ports.ca import Capabilities
from est_server.ports.ledger import NODE_ALIVE_FOR
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger

# the other server: reserves, says so, and records when it is told to
OTHER = """
import asyncio, sys
from datetime import datetime, timedelta
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from ledger_world import certificate, reservation
from est_server.errors import Conflict
from est_server.ports.ledger import NodeStatus
from est_server.storage.sqlite import SqliteLedger

async def main():
    ledger = SqliteLedger(Path(sys.argv[2]), "other")
    now = datetime.fromisoformat(sys.argv[3])
    made = reservation(at=now, ca="issuing", plan=sys.argv[4])
    await ledger.report_node(NodeStatus("other", 1, "host", now, now, "digest", 0, None))
    await ledger.reserve(made, window_start=now - timedelta(hours=1))
    print(made.request.id, flush=True)
    sys.stdin.readline()
    try:
        await ledger.record(made.request.id, certificate(made, der=b"der"))
        print("recorded")
    except Conflict as conflict:
        print(conflict.rule)
    await ledger.close()

asyncio.run(main())
"""
PLAN = json.dumps(
    {"subject": "CN=SN-1", "not_before": NOW.isoformat(), "not_after": NOW.isoformat()}
)


class Authority:
    """All that `reconcile` asks of a CA."""

    def __init__(self, *, local):
        self.capabilities = Capabilities(local_key=local)


@pytest.fixture
def path(tmp_path):
    upgrade_schema(tmp_path / "ledger.db")
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path):
    found = SqliteLedger(path, "this")
    yield found
    await found.close()


@pytest.fixture
def other(path):
    """A process that holds a reservation."""
    contract = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, contract, str(path), NOW.isoformat(), PLAN],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield process
        process.kill()


def settle(ledger, *, local=True, later=timedelta(0)):
    """Do what a server does at its start, at some time after now."""
    authorities = {"issuing": Authority(local=local)}
    return reconcile(ledger, authorities, lambda: NOW + later)


BOUND = NODE_ALIVE_FOR + timedelta(seconds=1)


async def test_a_reservation_of_a_living_process_is_left_alone(ledger, other):
    request_id = other.stdout.readline().strip()
    assert await settle(ledger) == (0, 0)
    assert (await ledger.request(request_id)).state == "reserved"
    said, _ = other.communicate("go\n", timeout=60)
    assert said == "recorded\n"
    assert (await ledger.request(request_id)).state == "issued"


@pytest.mark.parametrize(
    ("local", "counts", "state"), [(True, (1, 0), "rejected"), (False, (0, 1), "parked")]
)
async def test_what_a_killed_process_left_is_settled(ledger, other, local, counts, state):
    request_id = other.stdout.readline().strip()
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert await settle(ledger, local=local) == (0, 0), "it was seen a moment ago"
    assert await settle(ledger, local=local, later=BOUND) == counts
    request = await ledger.request(request_id)
    assert request.state == state
    found = await ledger.certificates()
    assert [one.status for one in found] == (["presumed"] if local else [])
    assert all(one.serial_number == request.serial_number and one.der is None for one in found)
    assert await settle(ledger, local=local, later=BOUND) == (0, 0), "once"


async def test_a_process_taken_for_dead_by_mistake_hands_out_nothing(ledger, other):
    request_id = other.stdout.readline().strip()
    assert await settle(ledger, later=BOUND) == (1, 0)
    said, _ = other.communicate("go\n", timeout=60)
    assert said == "request.state\n"
    assert (await ledger.request(request_id)).state == "rejected"
    assert [one.status for one in await ledger.certificates()] == ["presumed"]


async def test_two_servers_that_start_at_once_settle_it_once(ledger, other, path):
    other.stdout.readline()
    other.send_signal(signal.SIGKILL)
    other.wait()
    second = SqliteLedger(path, "second")
    counts = await asyncio.gather(*(settle(one, later=BOUND) for one in (ledger, second) * 4))
    await second.close()
    assert sorted(counts) == [(0, 0)] * 7 + [(1, 0)]


async def test_requests_of_a_ca_that_is_not_here_are_left_alone(ledger, other):
    request_id = other.stdout.readline().strip()
    other.send_signal(signal.SIGKILL)
    other.wait()
    found = await reconcile(ledger, {}, lambda: NOW + BOUND)
    assert found == (0, 0)
    assert (await ledger.request(request_id)).state == "reserved"

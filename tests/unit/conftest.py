"""The OCSP world, which rooms share: a soft CA, a ledger and a service with clocks of their own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger

sys.path.append(str(Path(__file__).parent / "revocation"))


@pytest.fixture
async def world(tmp_path):
    from ocsp_world import World

    upgrade_schema(tmp_path / "ledger.db")
    ledger = SqliteLedger(tmp_path / "ledger.db")
    yield World(ledger)
    await ledger.close()

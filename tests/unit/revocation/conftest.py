from __future__ import annotations

import pytest
from ocsp_world import World

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger


@pytest.fixture
async def world(tmp_path):
    upgrade_schema(tmp_path / "ledger.db")
    ledger = SqliteLedger(tmp_path / "ledger.db")
    yield World(ledger)
    await ledger.close()

"""Every adapter of a port, for the suite that holds all of them to it."""

from __future__ import annotations

import pytest
from ledger_adapters import LEDGERS


@pytest.fixture(params=LEDGERS)
def open_again(request, tmp_path):
    """Opens the test's ledger once more, as another process would."""
    return LEDGERS[request.param](tmp_path)


@pytest.fixture
async def ledger(open_again):
    found = open_again()
    yield found
    await found.close()

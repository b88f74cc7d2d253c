"""docs/backends.md has the table of `make ca-table`; what it calls shown, a test shows."""

from __future__ import annotations

import pebble
import pytest
import test_ca_contract as contract
from est_process import REPOSITORY
from pkcs11_tokens import MODULE

from est_server.testing import CaContract, MovedClock
from est_server.testing.contract import lacking
from est_server.testing.table import IMPOSSIBLE, SHOWN, table
from est_server.testing.world import CASES

PAGE = REPOSITORY / "docs" / "backends.md"
SUITES = {
    suite.backend: suite.world
    for suite in vars(contract).values()
    if isinstance(suite, type) and issubclass(suite, CaContract) and suite is not CaContract
}
NOT_PRODUCTS = "scripted"


@pytest.fixture
async def lines(tmp_path, need):
    need(pebble.PACKAGE, pebble.PROGRAM)
    need("softhsm2", MODULE)
    outcomes, reasons = {}, {}
    for backend, kind in SUITES.items():
        if backend.startswith(NOT_PRODUCTS):
            continue
        (folder := tmp_path / backend).mkdir()
        async with kind(folder, MovedClock()) as world:
            authority = world.open()
            can = authority.capabilities
            await authority.close()
        for case in CASES:
            why = kind.impossible.get(case) or lacking(case, can)
            outcomes.setdefault(backend, {})[case] = SHOWN if why is None else IMPOSSIBLE
            if why is not None:
                reasons.setdefault((case, why), []).append(backend)
    return table(outcomes, reasons)


async def test_the_page_has_the_table(lines):
    assert "\n".join(lines) in PAGE.read_text(), "\n".join(lines)

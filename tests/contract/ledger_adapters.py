"""How each adapter's ledger is made in a folder: a function that opens it."""

from __future__ import annotations

import pytest
from postgres_server import new_ledger

from est_server.storage import open_ledger
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger


def sqlite(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    return lambda node="": SqliteLedger(path, node)


def postgres(_tmp_path):
    place = new_ledger()
    return lambda node="": open_ledger(place, node)


LEDGERS = {"sqlite": sqlite, "postgres": postgres}
HISTORIES = ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)]
"""For tests that make a ledger for each of many examples."""

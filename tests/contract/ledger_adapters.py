"""How each adapter's ledger is made in a folder: a function that opens it."""

from __future__ import annotations

from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger


def sqlite(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    return lambda node="": SqliteLedger(path, node)


LEDGERS = {"sqlite": sqlite}

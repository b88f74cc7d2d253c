"""No statement changes a row that the audit log speaks about without the log's knowing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping

import pytest
from sqlalchemy.sql.dml import Delete, Insert, Update

import est_server.storage
from est_server.audit.rows import WATCHED
from est_server.storage import audit_statements as audit
from est_server.storage.tables import metadata


def statements():
    """Yield every statement of the room that changes rows, by name."""
    for module in pkgutil.iter_modules(est_server.storage.__path__):
        if not module.name.endswith("statements") or module.name == "audit_statements":
            continue
        loaded = importlib.import_module(f"est_server.storage.{module.name}")
        for name, value in vars(loaded).items():
            found = value.values() if isinstance(value, Mapping) else [value]
            for one in found:
                if isinstance(one, Insert | Update | Delete):
                    yield f"{module.name}.{name}", one


KNOWN = {**audit.WRITES, **audit.CHANGES, **audit.FINDS}


@pytest.mark.parametrize(("name", "statement"), [*statements()])
def test_the_log_knows(name, statement):
    table = statement.table.name
    if table not in WATCHED:
        return
    if statement in audit.SILENT:
        spoken = {*WATCHED[table].fixed, *WATCHED[table].state}
        assert isinstance(statement, Update)
        assert not spoken & {getattr(column, "name", column) for column in statement._values}
        return
    assert statement in KNOWN, f"{name} changes {table}"
    known = KNOWN[statement]
    assert (known if isinstance(known, str) else known[0]) == table


@pytest.mark.parametrize("table", WATCHED)
def test_columns_are_the_tables(table):
    watched, columns = WATCHED[table], metadata.tables[table].c
    assert set(watched.columns) <= set(columns.keys())
    assert set(watched.key) == {column.name for column in metadata.tables[table].primary_key}
    assert set(watched.facts) <= set(watched.fixed)
    assert not set(watched.state) & set(watched.fixed)


def test_columns_that_are_not_spoken_about():
    """A column that is added has to be put somewhere; these are the ones that may be altered."""
    found = {
        f"{table}.{column}"
        for table, watched in WATCHED.items()
        for column in metadata.tables[table].columns.keys()  # noqa: SIM118 - iterating gives columns
        if column not in watched.columns
    }
    assert found == {
        "certificates.seen_at",
        "credentials.uses",  # follows from the requests, and is compared with them
        "devices.updated_at",
        "pending_requests.updated_at",
        "requests.idempotency_key",
        "requests.node",
        "requests.updated_at",
        "rollovers.anonymous_fetches",
    }

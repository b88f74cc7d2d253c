"""Tables, migrations and the file itself."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from est_server.errors import BackendUnavailable
from est_server.storage import (
    appraisal_statements,
    crl_statements,
    nonce_statements,
    order_statements,
    pending_statements,
    revocation_statements,
    rollover_statements,
    schema,
    statements,
    supersession_statements,
    upstream_statements,
)
from est_server.storage.schema import SchemaStatus, schema_status, upgrade_schema
from est_server.storage.sqlite import SqliteLedger
from est_server.storage.tables import metadata

VERSIONS = Path(schema.__file__).parent / "migrations" / "versions"
HEAD = max(VERSIONS.glob("[0-9]*.py")).name[:4]
MODULES = (
    appraisal_statements,
    statements,
    nonce_statements,
    pending_statements,
    revocation_statements,
    supersession_statements,
    crl_statements,
    rollover_statements,
    order_statements,
    upstream_statements,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state" / "ledger.db"


def inspected(path):
    return create_engine(f"sqlite:///{path}")


def test_tables_and_migrations_are_the_same(path):
    upgrade_schema(path)
    engine = inspected(path)
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert found == []
    # alembic compares neither the columns of a primary key nor the rows of a partial index
    fresh = create_engine("sqlite://")
    metadata.create_all(fresh)
    texts = (
        "SELECT type, name, sql FROM sqlite_master WHERE tbl_name NOT LIKE 'alembic%' ORDER BY name"
    )
    with engine.connect() as migrated, fresh.connect() as made:
        kinds = [
            {(row[0], row[1]): index_text(row) for row in found.exec_driver_sql(texts)}
            for found in (migrated, made)
        ]
        assert kinds[0] == kinds[1]
        for table in metadata.tables:
            keys = [inspect(found).get_pk_constraint(table) for found in (migrated, made)]
            assert keys[0] == keys[1]
    engine.dispose()
    fresh.dispose()


def index_text(row):
    return " ".join(row[2].split()) if row[0] == "index" and row[2] else None


def test_status_goes_from_nothing_to_ready(path):
    assert schema_status(path) == SchemaStatus(None, HEAD)
    assert not path.exists(), "asking creates nothing"
    assert upgrade_schema(path).ready
    assert schema_status(path) == SchemaStatus(HEAD, HEAD)
    assert upgrade_schema(path).ready, "twice is once"


@pytest.mark.parametrize("name", ["a b", "50%", "what?", "x#y", "ä", "file:x"])
def test_any_name_of_a_file_will_do(tmp_path, name):
    assert upgrade_schema(tmp_path / name / "ledger.db").ready
    assert (tmp_path / name / "ledger.db").exists()


async def test_the_files_are_their_owners_alone(path):
    before = os.umask(0)
    try:
        upgrade_schema(path)
        found = SqliteLedger(path)
        found._reads._connection.execute("PRAGMA user_version = 1")
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()}
        await found._reads.close()
    finally:
        os.umask(before)
    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}


def test_a_step_that_fails_leaves_everything_as_it_was(path, monkeypatch):
    def half(_revision, **_options):
        op.create_table("half", *())
        raise sqlite3.OperationalError("no space")

    upgrade_schema(path)
    monkeypatch.setattr(schema.command, "upgrade", lambda config, _to: broken(config))

    def broken(config):
        connection = config.attributes["connection"]
        connection.exec_driver_sql("CREATE TABLE half (x)")
        raise sqlite3.OperationalError("no space")

    with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
        upgrade_schema(path)
    engine = inspected(path)
    assert "half" not in inspect(engine).get_table_names()
    engine.dispose()


def test_several_processes_may_upgrade_at_once(path):
    program = (
        "import sys, pathlib; from est_server.storage.schema import upgrade_schema;"
        "print(upgrade_schema(pathlib.Path(sys.argv[1])).ready)"
    )
    running = [
        subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [process.communicate()[0] for process in running] == [b"True\n"] * 3


def test_a_ledger_of_a_newer_release_is_refused(path):
    upgrade_schema(path)
    db = sqlite3.connect(path)
    db.execute("UPDATE alembic_version SET version_num = '9999'")
    db.commit()
    db.close()
    assert schema_status(path) == SchemaStatus("9999", HEAD)
    with pytest.raises(BackendUnavailable, match=r"ledger\.schema"):
        upgrade_schema(path)


def test_what_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_bytes(b"this is not a database" * 100)
    for attempt in (schema_status, upgrade_schema, SqliteLedger):
        with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
            attempt(path)
    assert path.read_bytes().startswith(b"this is not")


@pytest.mark.parametrize("name", ["state", "state/x/ledger.db"])
def test_what_can_not_be_opened_is_refused(tmp_path, name):
    (tmp_path / "state").mkdir()
    with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
        SqliteLedger(tmp_path / name)


def test_tables_and_statements_are_good_for_postgresql():
    dialect = postgresql.dialect(paramstyle="numeric_dollar")
    for table in metadata.sorted_tables:
        str(CreateTable(table).compile(dialect=dialect))
        for index in table.indexes:
            text = str(CreateIndex(index).compile(dialect=dialect))
            assert ("WHERE" in text) == ("WHERE" in str(CreateIndex(index).compile(
                dialect=sqlite.dialect())))  # fmt: skip
    for name, statement in (item for module in MODULES for item in vars(module).items()):
        if name.isupper() and hasattr(statement, "compile"):
            assert statements.compiled(statement, dialect).text


def test_a_statement_with_a_value_of_its_own_is_refused():
    held = statements.REQUEST.where(metadata.tables["requests"].c.state == "reserved")
    with pytest.raises(ValueError, match="values in the statement"):
        statements.compiled(held, sqlite.dialect(paramstyle="qmark"))

"""An archive is the whole ledger, of whichever engine, and either engine takes it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest
from audit_world import check, extend, fill
from ledger_world import NOW, any_key, issue, reservation
from postgres_server import new_ledger

from est_server.errors import BackendUnavailable, Conflict, Malformed
from est_server.ports.revocation import Revocation
from est_server.storage import open_ledger
from est_server.storage.archive import archive_sqlite, read_archive, unpack
from est_server.storage.postgres_archive import archive_postgres, is_empty, load_postgres, running
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger


def sqlite_place(tmp_path):
    path = tmp_path / "ledger.db"
    upgrade_schema(path)
    return path


PLACES = {"sqlite": sqlite_place, "postgres": lambda _: new_ledger()}


async def archived(place, out):
    if isinstance(place, type(out)):
        return archive_sqlite(place, out, at=NOW, release="0")
    return await archive_postgres(place, out, at=NOW, release="0")


async def filled(place):
    ledger = open_ledger(place)
    await fill(ledger)
    await extend(ledger)
    await issue(ledger, reservation(any_key(), serial=77))  # its leaf waits
    await ledger.close()


def everything(path):
    """Return all rows of a SQLite file, by table."""
    with closing(sqlite3.connect(path)) as found:
        names = found.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: sorted(map(repr, found.execute(f'SELECT * FROM "{name}"')))
            for (name,) in names
            if name not in {"archive", "nodes"} and not name.startswith("sqlite_")
        }


@pytest.mark.parametrize("engine", PLACES)
async def test_an_archive_goes_through_both_engines_and_is_the_same(engine, tmp_path):
    place = PLACES[engine](tmp_path)
    await filled(place)
    first, second, third = (tmp_path / f"{name}.sqlite" for name in ("first", "second", "third"))
    about = await archived(place, first)
    assert about == read_archive(first)
    assert about.engine.startswith(engine)
    assert about.rows["certificates"] > 5
    unpack(first, second)
    database = new_ledger()
    await load_postgres(second, database)
    assert (await archive_postgres(database, third, at=NOW, release="0")).rows == about.rows
    assert everything(third) == everything(second) == everything(first)


@pytest.mark.parametrize("engine", PLACES)
async def test_a_restored_ledger_goes_on(engine, tmp_path):
    place = PLACES[engine](tmp_path)
    await filled(place)
    archive, file = tmp_path / "a.sqlite", tmp_path / "file.sqlite"
    await archived(place, archive)
    unpack(archive, file)
    database = new_ledger()
    await load_postgres(file, database)
    for ledger in (SqliteLedger(file), open_ledger(database)):
        before = await ledger.revocations.last_event()
        done = await ledger.revocations.revoke([Revocation("ca", 77, "superseded", NOW, "anna")])
        assert done[0].sequence == before.sequence + 1
        await issue(ledger, reservation(any_key(), serial=78, at=NOW + timedelta(hours=1)))
        await extend(ledger)
        assert (await check(ledger)).findings == []
        await ledger.close()


async def test_a_database_is_empty_until_something_happened(tmp_path):
    database = new_ledger()
    assert await is_empty(database)
    assert await running(database, 0) == []
    await filled(database)
    assert not await is_empty(database)
    out = tmp_path / "a.sqlite"
    await archive_postgres(database, out, at=NOW, release="0")
    with pytest.raises(Conflict) as caught:
        await archive_postgres(database, out, at=NOW, release="0")
    assert caught.value.rule == "backup.exists"


async def test_what_can_not_be_loaded_changes_nothing(tmp_path):
    database = new_ledger()
    await filled(database)
    before, after, broken = (tmp_path / f"{name}.sqlite" for name in ("before", "after", "broken"))
    await archive_postgres(database, before, at=NOW, release="0")
    unpack(before, broken)
    with closing(sqlite3.connect(broken)) as made, made:
        made.execute("UPDATE certificates SET request_id = 'r' WHERE serial_number LIKE '%00004d'")
    with pytest.raises(BackendUnavailable):
        await load_postgres(broken, database)
    await archive_postgres(database, after, at=NOW, release="0")
    assert everything(before) == everything(after)


async def test_an_archive_that_says_something_else_is_refused(tmp_path):
    place = sqlite_place(tmp_path)
    await filled(place)
    archive = tmp_path / "a.sqlite"
    archive_sqlite(place, archive, at=NOW, release="0")
    with closing(sqlite3.connect(archive)) as made, made:
        made.execute("DELETE FROM decisions WHERE id = 'd_denied1'")
    with pytest.raises(Malformed, match="other rows"):
        unpack(archive, tmp_path / "out.sqlite")

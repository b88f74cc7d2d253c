"""Faults of the disk and of other processes: nobody is told of a success that is none."""

from __future__ import annotations

import asyncio
import gc
import resource
import sqlite3

import pytest

from est_server.errors import BackendUnavailable, Conflict, Malformed
from est_server.storage.group_commit import GroupCommit
from est_server.storage.sqlite_file import connect, make_private


@pytest.fixture
def path(tmp_path):
    found = tmp_path / "x.db"
    make_private(found)
    db = connect(found)
    db.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)")
    db.close()
    return found


@pytest.fixture
async def writer(path):
    found = GroupCommit(lambda: connect(path))
    yield found
    await found.close()


def add(n, text="x"):
    return lambda db: db.execute("INSERT INTO t VALUES (?, ?)", (n, text)).rowcount


def stored(path):
    db = connect(path)
    try:
        return [row[0] for row in db.execute("SELECT n FROM t ORDER BY n")]
    finally:
        db.close()


async def outcomes(writer, *works):
    return await asyncio.gather(*(writer.run(work) for work in works), return_exceptions=True)


def unavailable(found):
    return all(
        isinstance(one, BackendUnavailable) and one.rule == "ledger.unavailable" for one in found
    )


async def test_callers_share_commits(writer, path):
    await writer.run(add(-1))
    commits = []
    writer._connection.set_trace_callback(
        lambda text: commits.append(text) if text == "COMMIT" else None
    )
    await outcomes(writer, *(add(n) for n in range(300)))
    assert len(commits) <= 3
    assert stored(path) == list(range(-1, 300))


async def test_a_full_disk_while_rows_are_written(writer, path):
    await writer.run(add(0))
    writer._connection.execute("PRAGMA max_page_count = 2")
    found = await outcomes(writer, add(1), add(2, "x" * 20000), add(3))
    assert unavailable(found)
    assert stored(path) == [0]
    assert await outcomes(writer, add(4)) == [1]
    assert stored(path) == [0, 4]


async def test_a_disk_that_fails_in_the_commit(writer, path):
    await writer.run(add(0))
    log = path.with_name(path.name + "-wal").stat().st_size
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log + 1, before[1]))
    try:
        found = await outcomes(writer, *(add(n) for n in range(1, 20)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert unavailable(found)
    assert "SQLITE_IOERR" in found[0].hint
    assert stored(path) == [0]
    assert await outcomes(writer, add(1), add(2)) == [1, 1]
    assert stored(path) == [0, 1, 2]


async def test_a_transaction_that_sqlite_gave_up_is_no_success(writer, path):
    """After an automatic rollback the next statements would commit by themselves."""

    def gives_up(db):
        db.execute("ROLLBACK")
        raise Conflict("some.rule", "x")

    assert unavailable(await outcomes(writer, add(1), gives_up, add(2)))
    assert unavailable(await outcomes(writer, lambda db: db.execute("COMMIT"), add(3)))
    assert stored(path) in ([], [1])
    assert await outcomes(writer, add(4)) == [1]


async def test_a_store_that_can_not_be_opened_and_then_can(path):
    def opens():
        if broken:
            raise sqlite3.OperationalError("unable to open database file")
        return connect(path)

    broken = True
    writer = GroupCommit(opens)
    assert unavailable(await outcomes(writer, add(1), add(2)))
    broken = False
    assert await outcomes(writer, add(3)) == [1]
    await writer.close()
    assert stored(path) == [3]


async def test_failures_of_one_work(writer, path):
    def defect(db):
        add(99)(db)
        raise KeyError("a defect")

    connect_limit = "x" * 2000
    await writer.run(add(0))
    writer._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    found = await outcomes(
        writer,
        add(1),
        add(0),
        defect,
        add(2, connect_limit),
        add(1 << 70),
        add(3, "\udc80"),
        add(4),
    )
    kinds = [type(one) for one in found]
    assert kinds == [int, Conflict, KeyError, Malformed, Malformed, Malformed, int]
    assert found[1].rule == "ledger.constraint"
    assert {one.rule for one in found[3:6]} == {"ledger.value"}
    found[5].hint.encode()  # it can be logged
    assert stored(path) == [0, 1, 4]


async def test_while_another_process_writes_the_loop_goes_on(writer, path):
    await writer.run(add(0))
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    task = asyncio.create_task(writer.run(add(1)))
    for _ in range(20):  # a blocked loop would never come here
        await asyncio.sleep(0.001)
    assert not task.done()
    other.execute("INSERT INTO t VALUES (5, 'other')")
    other.execute("COMMIT")
    await task
    other.close()
    assert stored(path) == [0, 1, 5]


async def test_another_process_that_never_ends_is_waited_for_so_long_and_no_longer(path):
    writer = GroupCommit(lambda: connect(path), busy_for=0.05)
    other = connect(path)
    other.execute("BEGIN IMMEDIATE")
    found = await outcomes(writer, add(1), add(2))
    assert unavailable(found)
    assert "SQLITE_BUSY" in found[0].hint
    other.execute("ROLLBACK")
    other.close()
    assert await outcomes(writer, add(3)) == [1]
    await writer.close()
    assert stored(path) == [3]


async def test_close_finishes_what_waits_and_refuses_what_comes(writer, path):
    tasks = [asyncio.create_task(writer.run(add(n))) for n in range(3)]
    await asyncio.sleep(0)
    await writer.close()
    assert [await task for task in tasks] == [1, 1, 1]
    assert unavailable(await outcomes(writer, add(9)))
    await writer.close()
    assert stored(path) == [0, 1, 2]
    assert not path.with_name(path.name + "-wal").exists(), "the log is in the file"


async def test_failures_hold_no_connection(writer, path):
    """An exception that is kept must not keep a read transaction open."""
    kept = await outcomes(writer, add(1), add(1))
    gc.collect()
    await writer.run(add(2))
    assert writer._connection.in_transaction is False
    assert isinstance(kept[1], Conflict)

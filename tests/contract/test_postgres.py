"""What only PostgreSQL does: it goes away, it comes back, and something pools in between."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from ledger_world import NOW, WINDOW, any_key, issue, reservation, rules
from pgbouncer_process import pooled
from postgres_proxy import CuttingProxy
from postgres_server import Cluster, new_ledger, shared

import est_server.storage.ledger  # noqa: F401 - all tables
from est_server.errors import BackendUnavailable, Conflict
from est_server.ports.ledger import Device
from est_server.ports.revocation import Revocation
from est_server.storage import open_ledger, postgres_schema
from est_server.storage import statements as sql
from est_server.storage.postgres_server import PostgresServer
from est_server.storage.postgres_server import _Connection as Connection
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.storage.tables import metadata
from est_server.storage.transaction import Overtaken, UniqueBroken


@pytest.fixture
def place():
    return new_ledger()


@pytest.fixture
async def ledger(place):
    found = open_ledger(place)
    yield found
    await found.close()


@pytest.fixture
def own():
    """A server that a test may stop."""
    shared()  # skips or fails where there is none
    cluster = Cluster.start()
    yield cluster
    cluster.remove()


def database(place):
    return place.url.partition("@/")[2].partition("?")[0]


def added(name):
    return Device(name, "p", NOW)


async def gather(*calls):
    return await asyncio.gather(*calls, return_exceptions=True)


async def once_heard(call):
    """Return what a call returns once the driver has heard that connections were cut."""
    async with asyncio.timeout(30):
        while True:
            try:
                return await call()
            except BackendUnavailable:  # the server's farewell was read, the end was not yet
                await asyncio.sleep(0.02)


def unavailable(found):
    return isinstance(found, BackendUnavailable) and found.rule == "ledger.unavailable"


# -- it goes away and comes back -------------------------------------------------------------------


async def test_connections_that_were_cut_are_opened_again(place, ledger):
    for turn in range(3):
        busy = [
            asyncio.create_task(issue(ledger, reservation(any_key(), device=f"{turn}")))
            for _ in range(20)
        ]
        await asyncio.sleep(0)
        assert await asyncio.to_thread(shared().cut, database(place)) >= 0
        outcomes = await gather(*busy)
        assert [one for one in outcomes if one is not None and not unavailable(one)] == []
        await once_heard(lambda turn=turn: ledger.add_devices([added(f"d{turn}")]))
        stored = await once_heard(lambda turn=turn: ledger.certificates(device_id=f"{turn}"))
        assert len(stored) >= outcomes.count(None), "what was confirmed is there"


@pytest.mark.parametrize("where", ["BEGIN", "COMMIT", "read"])
async def test_a_connection_that_is_stuck_serves_nobody_else(place, where, monkeypatch):
    ledger = open_ledger(replace(place, connections=1))
    await ledger.add_devices([added("a")])
    stuck = []

    def sticking(method):
        async def wrapped(self, query, *arguments, **options):
            if where in {query, "read"} and not stuck:
                stuck.append(self.get_server_pid())
            if self.get_server_pid() in stuck:  # the driver is in the middle of an answer
                raise asyncpg.InternalClientError("another operation is in progress")
            return await method(self, query, *arguments, **options)

        return wrapped

    name = "fetchrow" if where == "read" else "execute"
    monkeypatch.setattr(Connection, name, sticking(getattr(Connection, name)), raising=False)
    with pytest.raises(BackendUnavailable):
        await (ledger.device("a") if where == "read" else ledger.add_devices([added("b")]))
    assert stuck
    await ledger.add_devices([added("c")])
    assert (await ledger.device("c")).id == "c"
    await ledger.close()


async def test_idle_connections_that_were_cut_cost_nobody_anything(place, ledger):
    await ledger.add_devices([added("a")])
    assert await asyncio.to_thread(shared().cut, database(place)) == 1
    await asyncio.sleep(0.5)  # the driver hears of it
    assert (await ledger.device("a")).id == "a"


async def test_a_server_that_stops_and_starts_again(own):
    place = own.place(own.database())
    upgrade_schema(place)
    ledger = open_ledger(place)
    try:
        await ledger.add_devices([added("a")])
        for mode in ("fast", "immediate"):
            await asyncio.to_thread(own.down, mode)
            for call in (ledger.device("a"), ledger.add_devices([added("b")]), ledger.ping()):
                with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable") as caught:
                    await call
                assert caught.value.retry_after
            await asyncio.to_thread(own.up)
            assert (await ledger.device("a")).id == "a"
            assert await ledger.device("b") is None
            await ledger.ping()
    finally:
        await ledger.close()


async def test_a_server_that_is_not_there_yet(own):
    place = own.place(own.database())
    upgrade_schema(place)
    own.down()
    for call in (schema_status, upgrade_schema):
        with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
            call(place)
    ledger = open_ledger(place)
    assert unavailable((await gather(ledger.ping()))[0])
    await asyncio.to_thread(own.up)
    await ledger.ping()
    await ledger.close()


@pytest.mark.parametrize(("cut", "happened"), [("before", False), ("after", True)])
async def test_a_connection_lost_while_it_commits(place, ledger, cut, happened):
    """The caller is told that it did not work; asking again finds out."""
    made = reservation(any_key())
    async with CuttingProxy(str(shared().folder)) as proxy:
        through = open_ledger(proxy.through(place))
        await through.ping()
        proxy.cut = cut
        with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
            await issue(through, made)
        again = (await gather(issue(through, reservation(made.request.idempotency_key))))[0]
        await through.close()
    found = await ledger.issued(made.request.idempotency_key, since=WINDOW)
    if happened:
        assert again.rule == "request.duplicate"
        assert found.serial_number == made.request.serial_number
    else:
        assert again is None
        assert found.serial_number != made.request.serial_number
    assert len(await ledger.certificates()) == 1


async def test_a_ledger_that_is_closed_says_so(place):
    ledger = open_ledger(place)
    await ledger.ping()
    await ledger.close()
    assert all(map(unavailable, await gather(ledger.device("a"), ledger.ping())))
    await ledger.close()


async def test_a_caller_that_leaves_does_not_take_its_write_back(place, ledger):
    task = asyncio.create_task(ledger.add_devices([added("a")]))
    await asyncio.sleep(0.001)
    task.cancel()
    await gather(task)
    await ledger.close()
    again = open_ledger(place)
    assert (await again.device("a")).id == "a"
    await again.close()


# -- again when others were faster -----------------------------------------------------------------


async def test_of_two_that_wait_for_each_other_both_come_through(ledger):
    await ledger.add_devices([added("a"), added("b")])
    turns = asyncio.Barrier(2)
    loop = asyncio.get_running_loop()

    def crossing(first, second):
        tried = []

        def work(db):
            tried.append(first)
            for name in (first, second):
                values = {"device": name, "from_": "active", "to": "active", "at": len(tried)}
                assert db.change(sql.SET_DEVICE_STATE, values) == 1
                if name == first and len(tried) == 1:
                    from sqlalchemy.util import await_only

                    await_only(turns.wait())
            return len(tried)

        return work

    writer = ledger._writer
    tries = await asyncio.gather(writer.run(crossing("a", "b")), writer.run(crossing("b", "a")))
    assert sorted(tries) == [1, 2], "one ran again"
    assert loop.is_running()


async def test_a_part_that_is_always_overtaken_gives_up(ledger, monkeypatch):
    monkeypatch.setattr("est_server.storage.postgres._PAUSES", (0.0,) * 4)
    tried = []

    def work(db):
        tried.append(db)
        raise Overtaken

    assert unavailable((await gather(ledger._writer.run(work)))[0])
    assert len(tried) == 4


async def test_a_row_of_which_no_part_knows_is_refused(ledger):
    def work(db):
        row = {"id": "a", "profile": "p", "state": "active", "attributes": "{}"}
        for _ in range(2):
            db.change(sql.ADD_DEVICE, {**row, "created_at": 0, "updated_at": 0})

    (found,) = await gather(ledger._writer.run(work))
    assert (type(found), found.rule) == (Conflict, "ledger.constraint")
    assert found.hint == "devices.id"
    assert await ledger.device("a") is None


async def test_a_part_that_hides_a_failure_is_no_success(ledger):
    """COMMIT of a transaction that failed is answered with ROLLBACK, not with an error."""

    def work(db):
        row = {"profile": "p", "state": "active", "attributes": "{}"}
        new = {**row, "created_at": 0, "updated_at": 0}
        db.change(sql.ADD_DEVICE, {**new, "id": "a"})
        with pytest.raises(UniqueBroken):
            db.change(sql.ADD_DEVICE, {**new, "id": "a"})

    assert unavailable((await gather(ledger._writer.run(work)))[0])
    assert await ledger.device("a") is None


async def test_events_are_seen_in_the_order_of_their_numbers(place, ledger):
    """Who has seen an event has seen those with smaller numbers: readers go on behind the last."""
    made = [reservation(any_key()) for _ in range(60)]
    await asyncio.gather(*(issue(ledger, one) for one in made))
    other, seen, done = open_ledger(place), [], False

    async def follow():
        while not done or len(seen) < len(made):
            after = seen[-1] if seen else 0
            found = await other.revocations.events(after=after, limit=7)
            seen.extend(event.sequence for event in found)

    following = asyncio.create_task(follow())
    orders = [Revocation("ca", one.request.serial_number, "superseded", NOW, "t") for one in made]
    ledgers = (ledger, other)
    await asyncio.gather(
        *(ledgers[n % 2].revocations.revoke([order]) for n, order in enumerate(orders))
    )
    done = True
    await asyncio.wait_for(following, 30)
    await other.close()
    assert seen == list(range(1, 61))


# -- something pools in between --------------------------------------------------------------------


async def test_behind_pgbouncer_in_transaction_mode(place, ledger, tmp_path):
    """Three connections to the server for the thirty-two of two ledgers."""
    with pooled(place, shared().folder, tmp_path, size=3) as behind:
        one, two = (open_ledger(replace(behind, connections=16)) for _ in range(2))
        try:
            made = [reservation(any_key(), device=f"{n % 5}") for n in range(120)]

            async def enroll(through, wanted):
                await issue(through, wanted)
                found = await through.certificate("ca", wanted.request.serial_number)
                assert found.serial_number == wanted.request.serial_number
                return await through.certificates(device_id=wanted.request.device_id, limit=3)

            found = await asyncio.gather(
                *(enroll((one, two)[n % 2], wanted) for n, wanted in enumerate(made))
            )
            assert all(found)
            equal = await gather(*(issue(one, reservation()) for _ in range(30)))
            assert rules(equal) == ["request.duplicate"] * 29
            snapshot = await one.revocations.events()
            assert snapshot == []
        finally:
            await one.close()
            await two.close()
        assert upgrade_schema(behind).ready
    assert len(await ledger.certificates(limit=1000)) == 121


async def test_statements_are_prepared_once_where_nothing_pools(place, ledger, tmp_path):
    await ledger.ping()
    direct = await ledger._reads._pool.connections()
    async with direct.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") > 0
    with pooled(place, shared().folder, tmp_path, size=1) as behind:
        other = open_ledger(behind)
        await other.ping()
        await issue(other, reservation(any_key()))
        pool = await other._reads._pool.connections()
        async with pool.acquire() as connection:
            query = "SELECT count(*) FROM pg_prepared_statements WHERE name <> ''"
            assert await connection.fetchval(query) == 0
        await other.close()


# -- its schema ------------------------------------------------------------------------------------


def test_migrations_make_the_tables_that_statements_use(place):
    def differences(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    assert postgres_schema.read(place, differences) == []


def test_every_text_is_compared_by_octets(place):
    query = (
        "SELECT count(*) FILTER (WHERE collation_name IS DISTINCT FROM 'C'), count(*)"
        " FROM information_schema.columns WHERE table_schema = 'public' AND data_type = 'text'"
    )
    other, texts = map(int, shared().sql(query, database(place)).split("|"))
    assert (other, texts > 50) == (0, True)


def test_several_processes_may_upgrade_at_once():
    place = shared().place(shared().database())
    assert schema_status(place).current is None
    program = (
        "import sys; from est_server.storage.postgres_server import PostgresServer;"
        "from est_server.storage.schema import upgrade_schema;"
        "sys.exit(not upgrade_schema(PostgresServer(sys.argv[1])).ready)"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, place.url]) for _ in range(3)]
    assert [process.wait(120) for process in started] == [0, 0, 0]


def test_a_step_that_fails_leaves_everything_as_it_was(place, monkeypatch):
    def broken(config, _to):
        config.attributes["connection"].exec_driver_sql("CREATE TABLE half (x text)")
        raise OSError("no space")

    monkeypatch.setattr("est_server.storage.schema.command.upgrade", broken)
    with pytest.raises(BackendUnavailable, match=r"ledger\.unavailable"):
        upgrade_schema(place)
    assert shared().sql("SELECT to_regclass('half') IS NULL", database(place)) == "t"


def test_a_ledger_of_a_newer_release_is_left_alone(place):
    shared().sql("UPDATE alembic_version SET version_num = '9999'", database(place))
    assert not schema_status(place).ready
    with pytest.raises(BackendUnavailable, match=r"ledger\.schema"):
        upgrade_schema(place)


def test_a_database_that_can_not_hold_every_text_is_refused():
    options = "ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
    place = shared().place(shared().database(options))
    with pytest.raises(BackendUnavailable, match=r"ledger\.schema"):
        upgrade_schema(place)


def test_what_must_not_be_shown_is_not():
    place = PostgresServer("postgresql://u@h/d", password="secret-1")
    assert "secret-1" not in f"{place!r} {place}"

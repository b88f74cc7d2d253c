"""Many certificates in the ledger: rates beside an empty one, plans without walks, octets for each.

The rows are made in the database itself. The long form is `make scale`, with ROWS in PostgreSQL and
at most a million in SQLite.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta

import pytest
from ledger_world import NOW, any_key, issue, reservation
from postgres_server import Cluster, shared

from est_server.storage import open_ledger
from est_server.storage import order_statements as orders
from est_server.storage import pending_statements as pending
from est_server.storage import revocation_statements as revocation
from est_server.storage import statements as sql
from est_server.storage.postgres_transaction import DIALECT
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger
from est_server.storage.sqlite_connection import DIALECT as SQLITE
from est_server.storage.sqlite_file import connect

ROWS = int(os.environ.get("ROWS", "20000"))
MOST_IN_A_FILE = 1_000_000
OPERATIONS = 2000 if "ROWS" in os.environ else 100
AT_ONCE = 16
ONE_YEAR = 365 * 86_400_000_000
T0 = 1_700_000_000_000_000

# {n} is the row's number, {hash} 32 octets of it, {hex} 40 digits of it
DECISIONS = """
INSERT INTO decisions (id, request_id, at, operation, label, profile, profile_digest, identity,
 device_id, verdict, rule, message, trace, csr, ca, serial_number)
SELECT 'd' || {id}, 'r' || {id}, {t0} + {n}, 'simpleenroll', NULL, 'p', '{digest}', 'id' || {n},
 'id' || {n}, 'allow', NULL, 'allowed', '{trace}', {csr}, 'ca', {hex} FROM {numbers}
"""
REQUESTS = """
INSERT INTO requests (id, state, idempotency_key, operation, label, profile, identity, device_id,
 credential_id, decision_id, ca, serial_number, spki_sha256, csr, plan, reason, created_at,
 updated_at, node)
SELECT 'r' || {id}, 'issued', {hash}, 'simpleenroll', NULL, 'p', 'id' || {n}, 'id' || {n}, NULL,
 'd' || {id}, 'ca', {hex}, {hash}, {csr}, '{trace}', NULL, {t0} + {n}, {t0} + {n}, 'n'
FROM {numbers}
"""
CERTIFICATES = """
INSERT INTO certificates (ca, serial_number, status, der, spki_sha256, subject, profile, identity,
 device_id, request_id, not_before, not_after, issued_at, crl_shard)
SELECT 'ca', {hex}, 'good', {der}, {hash}, 'CN=id' || {n}, 'p', 'id' || {n}, 'id' || {n},
 'r' || {id}, {t0} + {n}, {t0} + {n} + {year}, {t0} + {n}, 0 FROM {numbers}
"""
TRACE = '{"gates": "' + "x" * 500 + '"}'
IN_POSTGRES = {
    "n": "n", "id": "lpad(n::text, 20, '0')", "t0": T0, "year": ONE_YEAR, "digest": "0" * 64,
    "hash": "sha256(n::text::bytea)", "trace": TRACE,
    "hex": "lpad(substr(encode(sha256(n::text::bytea), 'hex'), 1, 34), 40, '0')",
    "csr": "decode(repeat(md5(n::text), 25), 'hex')",
    "der": "decode(repeat(md5(n::text), 40), 'hex')",
}  # fmt: skip
IN_SQLITE = {
    "n": "n", "id": "printf('%020d', n)", "t0": T0, "year": ONE_YEAR, "digest": "0" * 64,
    "hash": "hashed(n)", "trace": TRACE, "hex": "printf('%040s', substr(hex(hashed(n)), 1, 34))",
    "csr": "randomblob(400)", "der": "randomblob(640)",
}  # fmt: skip

HOT = {
    "issued": sql.ISSUED, "same key": sql.REQUEST_BY_KEY, "request": sql.REQUEST,
    "old key": sql.RELEASE_OLD_KEY, "move": sql.MOVE, "free": sql.FREE_KEY, "held": sql.HELD,
    "certificate": sql.CERTIFICATE, "seen": sql.SEEN, "unsettled": sql.UNSETTLED,
    "order's certificate": orders.CERTIFICATE_OF, "wait": orders.MOVES["wait"],
    "counts": orders.COUNTS, "parked": pending.PARKED, "status": revocation.SET_STATUS,
    "certificates": sql.CERTIFICATES, "decisions": sql.DECISIONS,
    **{
        f"certificates by {name}": sql.CERTIFICATES.where(sql.CERTIFICATE_FILTERS[name])
        for name in ("serial_number", "device_id", "identity", "subject", "not_good", "after")
    },
    **{
        f"decisions by {name}": sql.DECISIONS.where(one)
        for name, one in sql.DECISION_FILTERS.items()
    },
}  # fmt: skip


async def rates(ledger):
    """Return enrollments and status look-ups a second."""
    made = [reservation(any_key(), device=f"new-{n}", at=NOW) for n in range(OPERATIONS)]

    async def enroll(one):
        await ledger.issued(one.request.idempotency_key, since=NOW - timedelta(days=1))
        await issue(ledger, one)

    async def look(one):
        assert await ledger.certificate("ca", one.request.serial_number) is not None

    found = []
    for work in (enroll, look):
        begin = time.perf_counter()
        for start in range(0, OPERATIONS, AT_ONCE):
            await asyncio.gather(*(work(one) for one in made[start : start + AT_ONCE]))
        found.append(OPERATIONS / (time.perf_counter() - begin))
    return found


def said(engine, rows, empty, full, octets):
    enrolled, looked = (after / before for before, after in zip(empty, full, strict=True))
    print(
        f"\n{engine}, {rows:,} certificates beside none: enrollments {full[0]:,.0f}/s beside"
        f" {empty[0]:,.0f}/s ({enrolled:.2f}), status {full[1]:,.0f}/s beside {empty[1]:,.0f}/s"
        f" ({looked:.2f}); {octets / rows:,.0f} octets for each"
    )


@pytest.fixture
def cluster():
    """A server whose commits wait for the disk."""
    shared()  # skips or fails where there is none
    made = Cluster.start("shared_buffers = 512MB", "max_wal_size = 4GB")
    yield made
    made.remove()


async def test_postgresql_with_many_certificates(cluster):
    name = cluster.database()
    empty_place, place = cluster.place("postgres"), cluster.place(name)
    upgrade_schema(empty_place)
    upgrade_schema(place)
    for text in (DECISIONS, REQUESTS, CERTIFICATES):
        numbers = f"generate_series(1, {ROWS}) AS n"
        cluster.sql(text.format(numbers=numbers, **IN_POSTGRES), name)
    cluster.sql("VACUUM ANALYZE", name)
    octets = int(cluster.sql(f"SELECT pg_database_size('{name}')", name))
    empty, ledger = open_ledger(empty_place), open_ledger(place)
    try:
        await rates(empty)
        found = [(await rates(empty), await rates(ledger)) for _ in range(3)]
        said("PostgreSQL", ROWS, *map(best, zip(*found, strict=True)), octets)
        pool = await ledger._reads._pool.connections()
        async with pool.acquire() as db:
            await db.execute("SET plan_cache_mode = force_generic_plan")
            walks = {}
            for what, statement in HOT.items():
                compiled = sql.compiled(statement, DIALECT)
                await db.execute(f"PREPARE hot AS {compiled.text}")
                nulls = ", ".join(["NULL"] * len(compiled.names))
                plan = await db.fetch(f"EXPLAIN EXECUTE hot{f'({nulls})' if nulls else ''}")
                await db.execute("DEALLOCATE hot")
                if bad := [row[0] for row in plan if "Seq Scan on" in row[0]]:
                    walks[what] = bad
            assert walks == {}
            await db.execute("RESET plan_cache_mode")
    finally:
        await empty.close()
        await ledger.close()


def best(pairs):
    return [max(values) for values in zip(*pairs, strict=True)]


async def test_sqlite_with_many_certificates(tmp_path):
    from hashlib import sha256

    rows = min(ROWS, MOST_IN_A_FILE)
    for name in ("empty.db", "full.db"):
        upgrade_schema(tmp_path / name)
    db = connect(tmp_path / "full.db")
    db.create_function("hashed", 1, lambda n: sha256(str(n).encode()).digest(), deterministic=True)
    db.execute("PRAGMA synchronous=OFF")
    db.execute("BEGIN")
    counted = f"WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {rows})"
    for text in (DECISIONS, REQUESTS, CERTIFICATES):
        head, _, select = text.format(numbers="s", **IN_SQLITE).partition("SELECT")
        db.execute(f"{head} {counted} SELECT {select}")
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    octets = (tmp_path / "full.db").stat().st_size
    walks = {}
    for what, statement in HOT.items():
        compiled = sql.compiled(statement, SQLITE)
        nulls = [None] * len(compiled.names)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {compiled.text}", nulls)]
        if bad := [step for step in plan if step.startswith("SCAN") and "INDEX" not in step]:
            walks[what] = bad
    db.close()
    assert {name: bad for name, bad in walks.items() if bad != ["SCAN CONSTANT ROW"]} == {}
    empty, ledger = (SqliteLedger(tmp_path / name) for name in ("empty.db", "full.db"))
    try:
        await rates(empty)
        found = [(await rates(empty), await rates(ledger)) for _ in range(3)]
        said("SQLite", rows, *map(best, zip(*found, strict=True)), octets)
    finally:
        await empty.close()
        await ledger.close()

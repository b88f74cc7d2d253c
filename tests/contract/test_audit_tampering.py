"""Changes by hand to the tables of a ledger: `audit verify` finds and names each of them."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from dataclasses import replace

import pytest
from audit_world import KEY, check, extend, fill, signer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger_world import NOW, any_key, issue, reservation
from postgres_server import new_ledger, shared

from est_server.audit.leaf import decode_leaf, encode_leaf
from est_server.audit.tiles import GrowingTree
from est_server.audit.tree import leaf_hash
from est_server.audit.verify_rows import beginning
from est_server.storage import open_ledger
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger

LATER = 300  # leaves after the first checkpoint


class InAFile:
    """SQLite, and somebody who has the file."""

    def __init__(self, path):
        self.path = path

    @classmethod
    def empty(cls, folder):
        upgrade_schema(folder / "ledger.db")
        return cls(folder / "ledger.db")

    def copy(self, folder):
        return InAFile(shutil.copy(self.path, folder / "copy.db"))

    def open(self):
        return SqliteLedger(self.path)

    def change(self, *statements):
        db = sqlite3.connect(self.path)
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement
        db.commit()
        db.close()

    def value(self, query):
        db = sqlite3.connect(self.path)
        found = db.execute(query).fetchone()
        db.close()
        return None if found is None else found[0]


class OnAServer:
    """PostgreSQL, and somebody who may do anything there."""

    def __init__(self, name):
        self.name = name

    @classmethod
    def empty(cls, folder):
        return cls(new_ledger().url.partition("@/")[2].partition("?")[0])

    def copy(self, folder):
        copied = shared().database(f"TEMPLATE {self.name} STRATEGY file_copy", prefix="tampered")
        return OnAServer(copied)

    def open(self):
        return open_ledger(shared().place(self.name))

    def change(self, *statements):
        for statement in statements:
            changed = f"WITH changed AS ({in_postgres(statement)} RETURNING 1)"
            done = self._sql(f"{changed} SELECT count(*) FROM changed")
            assert int(done) != 0, statement

    def value(self, query):
        return self._sql(in_postgres(query)) or None

    def _sql(self, statement):
        # nobody who alters rows by hand lets foreign keys keep him from it
        return shared().sql(f"SET session_replication_role = replica; {statement}", self.name)


def in_postgres(statement):
    """Return what a statement for SQLite is for PostgreSQL, as far as octets are concerned."""
    for pattern, wanted in (
        (r"x'([0-9a-f]*)'", r"decode('\1', 'hex')"),
        (r"lower\(hex\((\w+)\)\)", r"encode(\1, 'hex')"),
        (r"zeroblob\((.*?)\)", r"decode(repeat('00', \1), 'hex')"),
        (r"CAST\(leaf AS TEXT\)", "convert_from(leaf, 'UTF8')"),
        (r"CAST\(((?:CASE|replace).*) AS BLOB\)", r"convert_to(\1, 'UTF8')"),
        (r"CAST\((substr.*) AS BLOB\)", r"\1"),
    ):
        statement = re.sub(pattern, wanted, statement)
    return statement


def filled(place):
    """Return a ledger with three checkpoints, which it keeps in mind, and a second tile."""

    async def work():
        ledger = place.open()
        await fill(ledger)
        notes = await extend(ledger)
        for number in range(LATER):
            await ledger.audit.note("test", {"number": str(number)}, at=NOW)
        notes += await extend(ledger)
        assert (await check(ledger)).findings == []
        await ledger.close()
        return notes

    place.notes = asyncio.run(work())
    return place


@pytest.fixture(scope="module", params=[InAFile, OnAServer], ids=["sqlite", "postgres"])
def template(request, tmp_path_factory):
    return filled(request.param.empty(tmp_path_factory.mktemp("audit")))


@pytest.fixture(scope="module")
def file_template(tmp_path_factory):
    return filled(InAFile.empty(tmp_path_factory.mktemp("audit")))


@pytest.fixture
def tampered(template, tmp_path):
    """A copy of the ledger, to be changed by hand with nobody watching."""
    return template.copy(tmp_path)


@pytest.fixture
def in_a_file(file_template, tmp_path):
    """The same, for changes by a program that knows SQLite only."""
    return file_template.copy(tmp_path)


async def findings(place, **options):
    ledger = place.open()
    try:
        return [
            (one.rule, one.table, one.key, one.column)
            for one in (await check(ledger, **options)).findings
        ]
    finally:
        await ledger.close()


CERTIFICATE = "serial_number = (SELECT serial_number FROM certificates WHERE identity = 'SN-{}')"
ONE = "SELECT serial_number || '/ca' FROM certificates WHERE identity = 'SN-{}'"

# what is done by hand -> what is found: rule, table, key, column; a key may be an SQL query
ROWS = {
    "a certificate's DER": (
        [f"UPDATE certificates SET der = x'00' WHERE {CERTIFICATE.format(20)}"],
        [("audit.row.altered", "certificates", ONE.format(20), "der")],
    ),
    "a certificate's end": (
        [f"UPDATE certificates SET not_after = not_after + 1 WHERE {CERTIFICATE.format(20)}"],
        [("audit.row.altered", "certificates", ONE.format(20), "not_after")],
    ),
    "a certificate deleted": (
        [f"DELETE FROM certificates WHERE {CERTIFICATE.format(20)}"],
        [("audit.row.missing", "certificates", ONE.format(20), "")],
    ),
    "a certificate inserted": (
        [("INSERT INTO certificates SELECT ca, '00', status, der, spki_sha256, subject, profile,"
         " identity, device_id, 'r_other', not_before, not_after, issued_at, replaces, revoked_at,"
         " revocation_reason, invalidity_date, crl_shard, seen_at FROM certificates"
         " WHERE identity = 'SN-20'")],
        [("audit.row.unknown", "certificates", "00/ca", "")],
    ),
    "two certificates swap their DER": (
        [("UPDATE certificates SET der = CAST(CASE identity WHEN 'SN-20' THEN 'der 4' ELSE 'der 3'"
         " END AS BLOB) WHERE identity IN ('SN-20', 'SN-21')")],
        [("audit.row.altered", "certificates", ONE.format(20), "der"),
         ("audit.row.altered", "certificates", ONE.format(21), "der")],
    ),
    "a revocation taken back": (
        [("UPDATE certificates SET status = 'good', revoked_at = NULL, revocation_reason = NULL,"
         " invalidity_date = NULL WHERE status = 'revoked'")],
        [("audit.row.altered", "certificates", ("SELECT serial_number || '/' || ca FROM"
          " revocation_events WHERE action = 'revoked'"), column)
         for column in ("status", "revoked_at", "revocation_reason", "invalidity_date")]
        + [("audit.row.derived", "revocation_entries", ("SELECT 'ca/0/' || serial_number FROM"
            " revocation_events WHERE action = 'revoked'"), "entry")],
    ),
    "a revocation nobody ordered": (
        [("UPDATE certificates SET status = 'revoked', revocation_reason = 'superseded'"
         " WHERE identity = 'SN-20'")],
        [("audit.row.altered", "certificates", ONE.format(20), "status"),
         ("audit.row.altered", "certificates", ONE.format(20), "revocation_reason"),
         ("audit.row.derived", "revocation_entries", ONE.format(20), "")],
    ),
    "a revoked certificate hidden from lists": (
        [("DELETE FROM revocation_entries WHERE serial_number ="
         " (SELECT serial_number FROM certificates WHERE status = 'revoked')")],
        [("audit.row.derived", "revocation_entries", ("SELECT serial_number || '/ca' FROM"
          " certificates WHERE status = 'revoked'"), "")],
    ),
    "a revoked certificate's entry emptied": (
        [("UPDATE revocation_entries SET entry = NULL WHERE serial_number ="
         " (SELECT serial_number FROM certificates WHERE status = 'revoked')")],
        [("audit.row.derived", "revocation_entries", ("SELECT 'ca/0/' || serial_number FROM"
          " certificates WHERE status = 'revoked'"), "entry")],
    ),
    "a compromised key let in again": (
        ["DELETE FROM blocked_keys"],
        [("audit.row.derived", "blocked_keys", ("SELECT lower(hex(spki_sha256)) FROM certificates"
          " WHERE status = 'revoked'"), "")],
    ),
    "a key blocked that nobody revoked": (
        [("INSERT INTO blocked_keys SELECT spki_sha256, 1 FROM certificates"
          " WHERE identity = 'SN-20'")],
        [("audit.row.derived", "blocked_keys", ("SELECT lower(hex(spki_sha256)) FROM certificates"
          " WHERE identity = 'SN-20'"), "")],
    ),
    "who revoked": (
        ["UPDATE revocation_events SET actor = 'mallory@pki' WHERE sequence = 1"],
        [("audit.row.altered", "revocation_events", "1", "actor")],
    ),
    "a revocation event deleted": (
        ["DELETE FROM revocation_events WHERE sequence = 2"],
        [("audit.row.missing", "revocation_events", "2", "")],
    ),
    "two revocation events change places": (
        ["UPDATE revocation_events SET sequence = -1 WHERE sequence = 1",
         "UPDATE revocation_events SET sequence = 1 WHERE sequence = 2",
         "UPDATE revocation_events SET sequence = 2 WHERE sequence = -1"],
        [("audit.row.altered", "revocation_events", key, column)
         for key in "12" for column in ("serial_number", "action", "reason", "invalidity_date",
                                        "note")],
    ),
    "a refusal turned into a permission": (
        ["UPDATE decisions SET verdict = 'allow', rule = NULL WHERE id = 'd_denied1'"],
        [("audit.row.altered", "decisions", "d_denied1", "verdict"),
         ("audit.row.altered", "decisions", "d_denied1", "rule")],
    ),
    "a decision's trace": (
        ["UPDATE decisions SET trace = '{\"gates\": []}' WHERE id = 'd_denied2'"],
        [("audit.row.altered", "decisions", "d_denied2", "trace")],
    ),
    "a decision's request": (
        ["UPDATE decisions SET csr = x'3000' WHERE id = 'd_denied2'"],
        [("audit.row.altered", "decisions", "d_denied2", "csr")],
    ),
    "a decision deleted": (
        ["DELETE FROM decisions WHERE id = 'd_denied1'"],
        [("audit.row.missing", "decisions", "d_denied1", "")],
    ),
    "a refused order turned into an issued one": (
        [("UPDATE requests SET state = 'issued', reason = NULL WHERE state = 'rejected' AND"
         " reason = 'the CA said so'")],
        [("audit.row.altered", "requests", ("SELECT id FROM requests r WHERE state = 'issued' AND"
          " NOT EXISTS (SELECT 1 FROM certificates c WHERE c.request_id = r.id)"), column)
         for column in ("state", "reason")],
    ),
    "a request's plan": (
        ["UPDATE requests SET plan = '[]' WHERE identity = 'SN-22'"],
        [("audit.row.altered", "requests", "SELECT id FROM requests WHERE identity = 'SN-22'",
          "plan")],
    ),
    "a denial by a person turned into an approval": (
        ["UPDATE pending_requests SET state = 'approved' WHERE state = 'denied'"],
        [("audit.row.altered", "pending_requests", "r_asked2", "state")],
    ),
    "who approved": (
        ["UPDATE pending_requests SET decided_by = 'mallory@pki' WHERE id = 'r_asked1'"],
        [("audit.row.altered", "pending_requests", "r_asked1", "decided_by")],
    ),
    "a device let out of quarantine": (
        ["UPDATE devices SET state = 'active' WHERE id = 'SN-2'"],
        [("audit.row.altered", "devices", "SN-2", "state")],
    ),
    "a device inserted": (
        ["INSERT INTO devices VALUES ('SN-99', 'p', 'active', '{}', 0, 0)"],
        [("audit.row.unknown", "devices", "SN-99", "")],
    ),
    "a device's attributes": (
        ["UPDATE devices SET attributes = '{\"site\": \"x\"}' WHERE id = 'SN-1'"],
        [("audit.row.altered", "devices", "SN-1", "attributes")],
    ),
    "a password": (
        ["UPDATE credentials SET verifier = 'mine' WHERE id = 'c_1'"],
        [("audit.row.altered", "credentials", "c_1", "verifier")],
    ),
    "a spent credential used again": (
        ["UPDATE credentials SET uses = 0 WHERE id = 'c_1'"],
        [("audit.row.derived", "credentials", "c_1", "uses")],
    ),
    "a revoked credential": (
        ["UPDATE credentials SET revoked_at = NULL WHERE id = 'c_2'"],
        [("audit.row.altered", "credentials", "c_2", "revoked_at")],
    ),
    "a removed secret key put back": (
        ["INSERT INTO device_keys SELECT device_id, x'02', sealed, created_at FROM device_keys"],
        [("audit.row.unknown", "device_keys", "SN-1/02", "")],
    ),
    "a profile's text": (
        ["UPDATE profile_texts SET text = 'version: 2'"],
        [("audit.row.altered", "profile_texts", "0" * 64, "text")],
    ),
    "a rollover gone back": (
        ["UPDATE rollovers SET state = 'prepared'"],
        [("audit.row.altered", "rollovers", "ca/2", "state")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ROWS)
async def test_rows(tampered, kind):
    statements, expected = ROWS[kind]
    before = [tampered.value(key) if key.startswith("SELECT") else key for _, _, key, _ in expected]
    tampered.change(*statements)
    wanted = [  # as it was before; what is found by what it became, as it is now
        (rule, table, key or tampered.value(query), column)
        for key, (rule, table, query, column) in zip(before, expected, strict=True)
    ]
    assert sorted(await findings(tampered)) == sorted(wanted)


LOG = {
    "a leaf altered": (
        [("UPDATE audit_leaves SET leaf = CAST(replace(CAST(leaf AS TEXT), 'alice', 'mally') AS"
         " BLOB) WHERE subject LIKE 'revocation_events:1'")],
        [("audit.leaf.altered", "audit_leaves", "28", "")],
    ),
    "a leaf removed": (
        ["DELETE FROM audit_leaves WHERE position = 100"],
        [("audit.leaf.missing", "audit_leaves", "100", "")],
    ),
    "two leaves swapped": (
        ["UPDATE audit_leaves SET position = -1 WHERE position = 100",
         "UPDATE audit_leaves SET position = 100 WHERE position = 101",
         "UPDATE audit_leaves SET position = 101 WHERE position = -1"],
        [("audit.leaf.reordered", "audit_leaves", "100", ""),
         ("audit.leaf.reordered", "audit_leaves", "101", "")],
    ),
    "the first leaf removed": (
        ["DELETE FROM audit_leaves WHERE position = 0"],
        [("audit.leaf.missing", "audit_leaves", "0", ""),
         ("audit.leaf.first", "audit_leaves", "0", "")],
    ),
    "a leaf with a place inserted at the end": (
        [("INSERT INTO audit_leaves SELECT 9999, 338, subject, leaf FROM audit_leaves"
         " WHERE position = 100")],
        [("audit.tile", "audit_tiles", "0/1", "hashes"),
         ("audit.leaf.unsigned", "audit_leaves", "338", "")],
    ),
    "a hash of a leaf altered": (
        [("UPDATE audit_tiles SET hashes = CAST(substr(hashes, 1, 32 * 40) || zeroblob(32) ||"
         " substr(hashes, 32 * 41 + 1) AS BLOB) WHERE level = 0 AND place = 0")],
        [("audit.tile", "audit_tiles", "0/0", "hashes")],
    ),
    "a root of a tile altered": (
        ["UPDATE audit_tiles SET hashes = zeroblob(32) WHERE level = 1"],
        [("audit.tile", "audit_tiles", "1/0", "hashes")],
    ),
    "a tile removed": (
        ["DELETE FROM audit_tiles WHERE level = 1"],
        [("audit.tile", "audit_tiles", "1/0", "hashes")],
    ),
    "a tile of nothing": (
        ["INSERT INTO audit_tiles VALUES (0, 2, zeroblob(32))"],
        [("audit.tile", "audit_tiles", "0/2", "hashes")],
    ),
    "a checkpoint altered": (
        ["UPDATE audit_checkpoints SET note = replace(note, '\n294\n', '\n293\n')"],
        [("audit.checkpoint.signature", "audit_checkpoints", "294", "note")],
    ),
    "a checkpoint removed": (
        ["DELETE FROM audit_checkpoints WHERE size = 294"],
        [("audit.checkpoint.missing", "audit_checkpoints", "338", "note")],
    ),
    "the first checkpoint removed": (
        ["DELETE FROM audit_checkpoints WHERE size = 38"],
        [("audit.checkpoint.missing", "audit_checkpoints", "294", "note")],
    ),
    "a checkpoint under another size": (
        ["UPDATE audit_checkpoints SET size = 293 WHERE size = 294"],
        [("audit.checkpoint.size", "audit_checkpoints", "293", "size")],
    ),
    "the last checkpoint removed": (
        ["DELETE FROM audit_checkpoints WHERE size = 338"],
        [("audit.leaf.unsigned", "audit_leaves", "294", "")],
    ),
    "all checkpoints removed": (
        ["DELETE FROM audit_checkpoints"],
        [("audit.checkpoint.none", "audit_checkpoints", "", "")],
    ),
    "the tail cut, and its checkpoint left": (
        ["DELETE FROM audit_leaves WHERE position >= 300"],
        [("audit.leaf.tail", "audit_leaves", "300", ""),
         ("audit.tile", "audit_tiles", "0/1", "hashes")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", LOG)
async def test_the_log(tampered, kind):
    statements, expected = LOG[kind]
    tampered.change(*statements)
    assert sorted(await findings(tampered)) == sorted(expected)


def rewritten(path, key=None):
    """Alter a leaf, make the tree anew over what there is, and sign it again if there is a key."""
    db = sqlite3.connect(path)
    (data,) = db.execute("SELECT leaf FROM audit_leaves WHERE position = 100").fetchone()
    leaf = replace(decode_leaf(data), actor="mallory")
    db.execute("UPDATE audit_leaves SET leaf = ? WHERE position = 100", (encode_leaf(leaf),))
    db.execute("DELETE FROM audit_tiles")
    sizes = [size for (size,) in db.execute("SELECT size FROM audit_checkpoints ORDER BY size")]
    tree, tiles, before = GrowingTree(), {}, None
    for (data,) in db.execute("SELECT leaf FROM audit_leaves ORDER BY position"):
        tiles |= dict(tree.append([leaf_hash(data)]))
        if key is not None and tree.size in sizes:
            before = signer(key)(tree.size, tree.root(), before)
            db.execute("UPDATE audit_checkpoints SET note = ? WHERE size = ?", (before, tree.size))
    for name, tile in (tiles | tree.edge).items():
        db.execute("INSERT INTO audit_tiles VALUES (?, ?, ?)", (*name, tile))
    db.commit()
    db.close()


async def test_the_whole_log_rewritten_under_the_old_signatures(in_a_file):
    rewritten(in_a_file.path)
    found = await findings(in_a_file)
    assert found == [("audit.checkpoint.root", "audit_checkpoints", "294", "note")] * 2


async def test_the_whole_log_rewritten_and_signed_by_another(in_a_file):
    rewritten(in_a_file.path, Ed25519PrivateKey.generate())
    found = await findings(in_a_file)
    assert {rule for rule, *_ in found} == {"audit.checkpoint.signature"}
    assert [key for _, _, key, _ in found] == ["38", "294", "338"]


async def test_the_whole_log_rewritten_with_the_stolen_key(in_a_file, file_template):
    """Nothing inside tells; what was written down outside does."""
    rewritten(in_a_file.path, KEY)
    assert await findings(in_a_file) == []
    anchors = {338: file_template.notes[-1]}
    assert await findings(in_a_file, anchors=anchors) == [
        ("audit.checkpoint.anchor", "audit_checkpoints", "338", "note")
    ]


async def test_the_tail_cut_without_a_trace(tampered, template):
    """Leaves, hashes and checkpoints: again only the anchor tells."""
    tampered.change(
        "DELETE FROM audit_leaves WHERE position >= 294",
        "UPDATE audit_tiles SET hashes = CAST(substr(hashes, 1, 38 * 32) AS BLOB) WHERE place = 1",
        "DELETE FROM audit_checkpoints WHERE size = 338",
    )
    assert await findings(tampered) == []
    anchors = {338: template.notes[-1]}
    assert await findings(tampered, anchors=anchors) == [
        ("audit.checkpoint.anchor", "audit_checkpoints", "338", "note"),
        ("audit.leaf.tail", "audit_leaves", "294", ""),
    ]


async def test_a_tail_with_its_acts_cut_leaves_rows_without_leaves(tampered):
    tampered.change(
        "DELETE FROM audit_leaves WHERE position >= 38",
        "DELETE FROM audit_tiles WHERE level = 1 OR place = 1",
        "UPDATE audit_tiles SET hashes = CAST(substr(hashes, 1, 38 * 32) AS BLOB)",
        "DELETE FROM audit_checkpoints WHERE size > 38",
    )
    assert await findings(tampered) == []  # only notes: nothing else was done since
    tampered.change(
        "DELETE FROM audit_leaves WHERE position >= 30",
        "UPDATE audit_tiles SET hashes = CAST(substr(hashes, 1, 30 * 32) AS BLOB)",
        "DELETE FROM audit_checkpoints",
    )
    found = {(rule, table) for rule, table, _, _ in await findings(tampered)}
    assert ("audit.row.unknown", "rollovers") in found
    assert ("audit.row.altered", "devices") in found


async def test_a_waiting_leaf_removed(tampered):
    ledger = tampered.open()
    await issue(ledger, reservation(any_key(), device="SN-99"))
    await ledger.close()
    tampered.change("DELETE FROM audit_leaves WHERE position IS NULL")
    found = await findings(tampered)
    assert {(rule, table) for rule, table, _, _ in found} == {
        ("audit.row.unknown", table) for table in ("certificates", "decisions", "requests")
    }


async def test_rows_older_than_the_log(in_a_file):
    """A ledger of before: what has no leaf is counted, not accused, and counted right."""
    db = sqlite3.connect(in_a_file.path)
    (data,) = db.execute("SELECT leaf FROM audit_leaves WHERE position = 0").fetchone()
    older = beginning(decode_leaf(data).at, {"devices": 1})
    db.execute("DELETE FROM audit_leaves")
    db.execute("DELETE FROM audit_tiles")
    db.execute("DELETE FROM audit_checkpoints")
    for table in ("revocation_entries", "revocation_events", "blocked_keys", "certificates",
                  "pending_requests", "requests", "decisions", "credentials", "device_keys",
                  "rollovers", "profile_texts"):  # fmt: skip
        db.execute(f"DELETE FROM {table}")
    db.execute("DELETE FROM devices WHERE id <> 'SN-1'")
    db.execute("INSERT INTO audit_leaves VALUES (1, NULL, 'log:began', ?)", (encode_leaf(older),))
    db.commit()
    db.close()
    ledger = in_a_file.open()
    await ledger.set_device_state("SN-1", "quarantined", expected=["active"], at=NOW)
    await extend(ledger)
    report = await check(ledger)
    assert (report.findings, report.older) == ([], {"devices": 1})
    await ledger.close()
    in_a_file.change("UPDATE devices SET state = 'active'")
    assert await findings(in_a_file) == [("audit.row.altered", "devices", "SN-1", "state")]
    in_a_file.change("DELETE FROM devices")
    assert await findings(in_a_file) == [("audit.row.missing", "devices", "SN-1", "")]
    in_a_file.change("INSERT INTO devices VALUES ('SN-0', 'p', 'active', '{}', 0, 0)")
    assert ("audit.row.count", "devices", "", "") in await findings(in_a_file)

"""A ledger that is copied under load, lost, and brought back: what the world knows is kept."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import subprocess
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass

import pytest
from device_world import csr, issued, post, session
from est_process import COMMAND, LEDGER, REPOSITORY, move_to_postgres

from est_server.wire.crl_reading import read_crl


@dataclass
class World:
    """A server that publishes into a directory, and what its devices hold."""

    server: object
    user: tuple[str, str]

    async def enroll(self, count):
        found = []
        async with session(self.server, self.user) as client:
            for number in range(count):
                status, body, _ = await post(client, self.server, csr(f"device-{number}"))
                assert status == 200
                found.append(issued(body).serial_number)
        return found

    def devices(self, count=1):
        return asyncio.run(self.enroll(count))

    def revoke(self, serial, reason="keyCompromise"):
        self.server.run("cert", "revoke", f"{serial:x}", "--reason", reason)

    def status(self, serial):
        return self.server.json("cert", "show", f"{serial:x}")["status"]

    def numbers(self):
        folder = self.server.directory / "public"
        return {path.name: read_crl(path.read_bytes()).number for path in folder.glob("*.crl")}

    def try_(self, *arguments):
        """Run a command; return its exit code and its JSON, or its failure."""
        done = subprocess.run(
            [*COMMAND, *arguments, "-c", str(self.server.config), "-o", "json"],
            cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or done.stderr)

    @contextmanager
    def load(self):
        """Enroll without a pause until the block ends."""
        stop, held = threading.Event(), []

        async def devices():
            async with session(self.server, self.user) as client:
                while not stop.is_set():
                    status, body, _ = await post(client, self.server, csr("loaded"))
                    assert status == 200
                    held.append(issued(body).serial_number)

        async def fleet():
            await asyncio.gather(*(devices() for _ in range(4)))

        thread = threading.Thread(target=lambda: asyncio.run(fleet()))
        thread.start()
        try:
            yield held
        finally:
            stop.set()
            thread.join(60)


@pytest.fixture
def world(new_server, tmp_path):
    return made_world(new_server(tmp_path / "server", "--interop"))


@pytest.fixture
def in_postgresql(new_server, tmp_path):
    made = new_server(tmp_path / "in-postgresql", "--interop")
    if LEDGER != "postgres":
        move_to_postgres(made)
    return made_world(made)


def made_world(made):
    text = made.config.read_text()
    crl = "    crl: {directory: public}\n    backend: soft"
    made.config.write_text(text.replace("    backend: soft", crl, 1))
    return World(made, made.credential("tester", "interop"))


def line(report, what, level):
    [found] = [one for one in report["lines"] if (one["what"], one["level"]) == (what, level)]
    return found


def test_a_lost_ledger_comes_back_with_what_its_lists_know(world, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        first, held, kept = world.devices(3)
        world.revoke(held, "certificateHold")
        # the fourth is the OCSP responder's
        assert world.server.json("db", "backup", str(backup))["rows"]["certificates"] == 4
        world.revoke(first)
        [late] = world.devices()
        world.revoke(late, "superseded")
        world.server.run("cert", "release", f"{held:x}")
        world.server.run("crl", "publish")
        before = world.numbers()
    ledger = world.server.directory / "state" / "ledger.db"
    ledger.write_bytes(b"a disk that failed" * 4096)
    for rest in ledger.parent.glob("ledger.db-*"):
        rest.unlink()

    code, told = world.try_("db", "restore", str(backup))
    assert (code, told["error"]) == (1, "restore.exists")
    code, report = world.try_("db", "restore", str(backup), "--replace")

    assert code == 0
    assert report["explained"]
    assert line(report, "revocations", "ok")["named"] == [f"{first:x}", f"{held:x}"]
    assert line(report, "revocations", "attention")["named"] == [f"{late:x}"]
    assert [*ledger.parent.glob("ledger.db.before-*")]
    assert world.status(first) == "revoked"
    assert world.status(kept) == world.status(held) == "good"
    with serve(world.server):
        [again] = world.devices()
        assert world.status(again) == "good"
        world.server.run("crl", "publish")
        after = world.numbers()
    assert all(after[name] > before[name] for name in before)
    [revoked] = world.server.json("cert", "show", f"{first:x}")["events"]
    assert revoked["reason"] == "keyCompromise"


def test_a_new_machine_has_no_folder_for_it(world, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        [serial] = world.devices()
        world.server.run("db", "backup", str(backup))
    shutil.rmtree(world.server.directory / "state")
    assert world.try_("db", "restore", str(backup))[0] == 0
    assert world.status(serial) == "good"
    assert [path.name for path in (world.server.directory / "state").iterdir()] == ["ledger.db"]


def test_a_list_that_is_older_than_the_backup_changes_nothing(world, serve, tmp_path):
    backup, old = tmp_path / "backup.sqlite", tmp_path / "old.crl"
    with serve(world.server):
        [serial] = world.devices()
        world.revoke(serial, "certificateHold")
        world.server.run("crl", "publish")
        shutil.copy(world.server.directory / "public" / "issuing.crl", old)
        world.server.run("cert", "release", f"{serial:x}")
    shutil.rmtree(world.server.directory / "public")
    until = read_crl(old.read_bytes()).this_update.timestamp() + 1
    while time.time() < until:  # lists say whole seconds
        time.sleep(0.02)
    world.server.run("db", "backup", str(backup))
    code, report = world.try_("db", "restore", str(backup), "--crl", str(old), "--replace")
    assert (code, line(report, "revocations", "ok")["named"]) == (0, [])
    assert world.status(serial) == "good"
    assert line(report, "list numbers", "ok")["count"] == 1


def test_the_exported_audit_log_tells_what_no_list_does(world, serve, tmp_path):
    backup, log = tmp_path / "backup.sqlite", tmp_path / "audit.jsonl"
    text = world.server.config.read_text()
    world.server.config.write_text(text.replace("directory: public", "lifetime: 24h"))
    with serve(world.server):
        held, first, kept = world.devices(3)
        world.revoke(held, "certificateHold")
        world.server.run("db", "backup", str(backup))
        world.server.run(
            "cert", "revoke", f"{first:x}", "--reason", "superseded", "--note", "by its twin"
        )
        world.server.run("cert", "release", f"{held:x}")
        [late] = world.devices()
        world.revoke(late)
    world.server.run("audit", "export", str(log))
    code, report = world.try_("drill", "restore", str(backup))
    assert line(report, "changed since", "attention")["named"] == [f"{first:x}", f"{held:x}"]
    code, report = world.try_("db", "restore", str(backup), "--audit", str(log), "--replace")
    assert code == 0
    assert line(report, "revocations", "ok")["named"] == [f"{first:x}", f"{held:x}"]
    assert line(report, "revocations", "attention")["named"] == [f"{late:x}"]
    assert line(report, "certificates", "attention")["named"] == [f"{late:x} (tester)"]
    [event] = world.server.json("cert", "show", f"{first:x}")["events"]
    assert (event["reason"], event["note"]) == ("superseded", "by its twin")
    assert (world.status(held), world.status(kept)) == ("good", "good")
    with serve(world.server):
        assert world.devices()
    assert world.server.json("audit", "verify")["ok"]
    log.write_text(log.read_text().replace("superseded", "unspecified"))
    code, told = world.try_("db", "restore", str(backup), "--audit", str(log), "--replace")
    assert (code, told["error"]) == (1, "audit.export")


def test_a_drill_from_a_backup_under_load_has_nothing_unexplained(world, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        with world.load() as held:
            while len(held) < 40:
                pass
            copied = world.server.json("db", "backup", str(backup))["rows"]["certificates"]
            world.revoke(held[0])
            while len(held) < 80:
                pass
            world.server.run("crl", "publish")
            code, report = world.try_("drill", "restore", str(backup))
        assert (code, report["explained"]) == (0, True)
        assert line(report, "issued since", "ok")["count"] > 0
        assert str(copied) in line(report, "same", "ok")["detail"]
        assert line(report, "revocations", "ok")["named"] == [f"{held[0]:x}"]
        assert world.status(held[0]) == "revoked"  # the ledger in use is as it was


def test_a_drill_names_what_it_can_not_explain(world, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        lost, altered, kept = world.devices(3)
    world.server.run("db", "backup", str(backup))
    path = world.server.directory / "state" / "ledger.db"
    with closing(sqlite3.connect(path)) as ledger, ledger:
        ledger.execute("DELETE FROM certificates WHERE serial_number = ?", (f"{lost:040x}",))
        ledger.execute(
            "UPDATE certificates SET subject = 'CN=other' WHERE serial_number = ?",
            (f"{altered:040x}",),
        )
    code, report = world.try_("drill", "restore", str(backup))
    assert (code, report["explained"]) == (1, False)
    assert line(report, "invented", "unexplained")["named"] == [f"{lost:x}"]
    assert line(report, "altered", "unexplained")["named"] == [f"{altered:x}"]
    assert f"{kept:x}" not in str(report["lines"])


def test_a_ledger_in_postgresql_comes_back_and_is_kept_aside(in_postgresql, serve, tmp_path):
    world, backup = in_postgresql, tmp_path / "backup.sqlite"
    with serve(world.server):
        first, kept = world.devices(2)
        assert world.server.json("db", "backup", str(backup))["engine"] == "postgresql"
        world.revoke(first)
        world.server.run("crl", "publish")
        before = world.numbers()
        [late] = world.devices()
        code, told = world.try_("db", "restore", str(backup), "--replace")
        assert (code, told["error"]) == (1, "restore.running")
        code, drilled = world.try_("drill", "restore", str(backup))
        assert (code, drilled["explained"]) == (0, True)
        assert line(drilled, "issued since", "ok")["named"] == [f"{late:x}"]
    code, told = world.try_("db", "restore", str(backup))
    assert (code, told["error"]) == (1, "restore.exists")
    code, report = world.try_("db", "restore", str(backup), "--replace")
    assert code == 0
    assert line(report, "revocations", "ok")["named"] == [f"{first:x}"]
    assert (world.status(first), world.status(kept)) == ("revoked", "good")
    assert world.try_("cert", "show", f"{late:x}")[1]["error"] == "serial.unknown"
    with serve(world.server):
        assert world.devices()
        world.server.run("crl", "publish")
        assert all(number > before[name] for name, number in world.numbers().items())
    assert world.server.json("audit", "verify")["ok"]
    [aside] = world.server.directory.glob("ledger.before-*.sqlite")
    world.server.run("db", "restore", str(aside), "--replace")
    assert world.status(late) == "good"
    assert [*world.server.directory.glob(".ledger.*")] == []


def test_a_ledger_goes_from_one_engine_to_the_other(world, in_postgresql, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        [serial] = world.devices()
    world.server.run("db", "backup", str(backup))
    other = in_postgresql.server.config.read_text()
    url = re.search(r"\n  ledger: (postgresql:[^\n]*)", other)[1]
    text = world.server.config.read_text()
    world.server.config.write_text(re.sub(r"(?m)^  ledger: [^\n]*", f"  ledger: {url}", text))
    world.server.run("db", "restore", str(backup), "--replace")
    assert world.status(serial) == "good"
    with serve(world.server):
        assert world.devices()


def test_a_ledger_in_use_is_not_replaced(world, serve, tmp_path):
    backup = tmp_path / "backup.sqlite"
    with serve(world.server):
        world.server.run("db", "backup", str(backup))
        code, told = world.try_("db", "restore", str(backup), "--replace")
    assert (code, told["error"]) == (1, "restore.running")


def test_what_is_no_backup_changes_nothing(world, tmp_path):
    ledger = world.server.directory / "state" / "ledger.db"
    before = ledger.read_bytes()
    whole = tmp_path / "whole.sqlite"
    world.server.run("db", "backup", str(whole))
    damaged = tmp_path / "damaged.sqlite"
    octets = bytearray(whole.read_bytes())
    octets[len(octets) // 2 :] = bytes(len(octets) - len(octets) // 2)
    damaged.write_bytes(octets)
    text = tmp_path / "text.sqlite"
    text.write_text("no backup")
    shutil.copy(ledger, tmp_path / "plain.sqlite")
    for path in (damaged, text, tmp_path / "plain.sqlite", tmp_path / "nothing.sqlite"):
        code, told = world.try_("db", "restore", str(path), "--replace")
        assert (code, told["error"]) == (1, "backup.file"), path
    assert ledger.read_bytes() == before
    code, told = world.try_("db", "backup", str(whole))
    assert (code, told["error"]) == (1, "backup.exists")


def test_what_server_yaml_lets_go_is_removed_while_a_server_works(world, serve):
    text = world.server.config.read_text()
    world.server.config.write_text(text + "retention: {decisions: 1d, certificates: 400d}\n")
    with serve(world.server):
        [serial] = world.devices()
        code, told = world.try_("db", "prune", "--certificates", "1d")
        assert (code, told["error"]) == (1, "retention.shorter")
        seen = world.server.json("db", "prune", "--dry-run")
        assert (seen["dry_run"], seen["certificates"], seen["decisions"]) == (True, 0, 0)
        with sqlite3.connect(world.server.directory / "state" / "ledger.db", timeout=10) as ledger:
            ledger.execute("UPDATE certificates SET not_after = 1, not_before = 0")
        seen = world.server.json("db", "prune", "--dry-run")
        assert seen["certificates"] == 2  # the OCSP responder's too
        assert world.server.json("db", "prune")["certificates"] == 2
        code, told = world.try_("cert", "show", f"{serial:x}")
        assert (code, told["error"]) == (1, "serial.unknown")
        assert world.devices()

"""What `doctor` says about revocation lists, and what a restored ledger does with their numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from datetime import timedelta

import pytest
from est_process import COMMAND, REPOSITORY

from est_server.wire.crl_reading import read_crl


@pytest.fixture(scope="module")
def fresh(new_server, tmp_path_factory):
    """A server that never ran and has published nothing."""
    made = new_server(tmp_path_factory.mktemp("fresh") / "server")
    text = made.config.read_text()
    crl = "    crl: {directory: public}\n    backend: soft"
    made.config.write_text(text.replace("    backend: soft", crl, 1))
    return made


@pytest.fixture(scope="module")
def template(fresh, tmp_path_factory):
    """The same with lists and their deltas in its ledger and in a directory."""
    made = replace(fresh, directory=tmp_path_factory.mktemp("template") / "server")
    shutil.copytree(fresh.directory, made.directory)
    made.run("crl", "publish")
    made.run("crl", "publish")  # the first list has no delta yet
    return made


@pytest.fixture
def published(template, tmp_path):
    """A copy of it, which a test may spoil."""
    shutil.copytree(template.directory, tmp_path / "server")
    return replace(template, directory=tmp_path / "server")


@pytest.fixture
def alone(published):
    """The same without a directory."""
    text = published.config.read_text()
    published.config.write_text(text.replace("directory: public", "lifetime: 24h"))
    return published


def doctor(server):
    """Return what the check found, by the status."""
    done = subprocess.run(
        [*COMMAND, "doctor", "-c", str(server.config), "-o", "json"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode in {0, 1}, done.stderr
    found = [one for one in json.loads(done.stdout) if one["check"] == "crl"]
    assert (done.returncode == 1) >= any(one["status"] == "fail" for one in found)
    return found


def only(server):
    """Return the one finding that is not well."""
    [found] = [one for one in doctor(server) if one["status"] != "ok"]
    return found


def numbers(server):
    return {one["kind"]: one["number"] for one in server.json("crl", "list")}


def test_before_the_first_start(fresh):
    found = only(fresh)
    assert (found["status"], found["detail"]) == ("warn", "issuing.crl: nothing is published yet")
    assert "crl publish issuing" in found["next"]


def test_all_is_well(published):
    assert [one["status"] for one in doctor(published)] == ["ok", "ok"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: path.unlink(), "is missing or no list; the newest is"),
        (lambda path: path.write_bytes(b"half"), "is missing or no list; the newest is"),
    ],
)
def test_the_directory_is_not_what_the_ledger_says(published, spoil, said, shift):
    spoil(published.directory / "public" / "issuing.crl")
    shift(published, timedelta(minutes=1))
    found = only(published)
    assert found["status"] == "fail"
    assert said in found["detail"]
    assert "write into" in found["next"]


@pytest.fixture
def shift():
    """Let what is published be older than it is."""
    import sqlite3

    def back(server, by):
        with sqlite3.connect(server.directory / "state/ledger.db") as db:
            by = int(by.total_seconds() * 1_000_000)
            db.execute(
                "update crls set published_at = published_at - ?, this_update = this_update - ?,"
                " next_update = next_update - ?", (by, by, by),
            )  # fmt: skip

    return back


@pytest.mark.parametrize(
    ("age", "statuses", "said"),
    [
        (timedelta(minutes=32), ["ok", "warn"], "issuing-delta.crl: its successor is 0:02:"),
        (timedelta(minutes=61), ["ok", "fail"], "issuing-delta.crl: it ended"),
        (timedelta(hours=9), ["warn", "fail"], "issuing.crl: its successor is 1:00:"),
        (timedelta(hours=25), ["fail", "fail"], "issuing.crl: it ended"),
    ],
)
def test_lists_that_are_late_and_lists_that_have_ended(published, shift, age, statuses, said):
    shift(published, age)
    found = doctor(published)
    assert [one["status"] for one in found] == statuses
    assert said in " ".join(one["detail"] for one in found)
    assert all("est-server crl publish issuing" in one["next"] for one in found if one["next"])


def restored(server, backup):
    """Put the ledger of a backup in place; what was published since is out there still."""
    for file in (server.directory / "state").iterdir():
        file.unlink()
    shutil.copy(backup, server.directory / "state" / "ledger.db")


def backup(server, path):
    import sqlite3

    with sqlite3.connect(server.directory / "state/ledger.db") as db, sqlite3.connect(path) as copy:
        db.backup(copy)
    return path


def test_a_ledger_that_was_restored_is_told_by_the_directory(published, tmp_path):
    kept = backup(published, tmp_path / "backup.db")
    published.run("crl", "publish")
    out_there = numbers(published)["base"]
    restored(published, kept)
    found = [one for one in doctor(published) if one["status"] == "fail"]
    assert found
    for one in found:
        assert f"number {out_there} is out there" in one["detail"]
        assert one["next"] == f"est-server crl floor issuing {out_there}"


def test_a_floor_keeps_numbers_from_being_used_again(alone, tmp_path):
    """Nobody here can know what is outside: the operator reads the number there, and says it."""
    made = alone
    kept = backup(made, tmp_path / "backup.db")
    made.run("crl", "publish")
    out_there = numbers(made)["base"]
    restored(made, kept)
    [done] = made.json("crl", "floor", "issuing", str(out_there))
    assert (done["ca"], done["shard"], done["floor"]) == ("issuing", 0, out_there)
    assert min(numbers(made).values()) <= out_there, "what is published stays until the next"
    published = made.json("crl", "publish")
    assert {one["kind"] for one in published} == {"base", "delta"}
    assert all(one["number"] > out_there for one in published)
    [again] = made.json("crl", "floor", "issuing", "1")
    assert again["floor"] > out_there, "a floor is never lowered"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("issuing", "0"), 2),
        (("issuing", "x"), 2),
        (("nobody", "5"), 1),
        (("issuing", "9" * 60), 2),
    ],
)
def test_a_floor_that_makes_no_sense(template, arguments, code):
    done = subprocess.run(
        [*COMMAND, "crl", "floor", *arguments, "-c", str(template.config)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stderr


def test_a_running_server_hands_out_what_the_ledger_has(published, serve):
    with serve(published):
        found = doctor(published)
    assert [one["status"] for one in found] == ["ok"] * 3, found
    assert found[-1]["detail"].endswith("/revocations?limit=1: followers get their events")
    der = (published.directory / "public" / "issuing.crl").read_bytes()
    assert read_crl(der).number == numbers(published)["base"]

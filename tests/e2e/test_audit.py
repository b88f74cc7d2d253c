"""The audit log of a real server: crashes, anchors, proofs, and a stranger who checks."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from audit_site import audit, refused, time_stamping
from device_world import csr, issued, post, session
from est_process import REPOSITORY, initialise, serving
from typer.testing import CliRunner

from est_server.app.audit import AuditKeeper
from est_server.app.clock import system_clock
from est_server.cli import app
from est_server.config.configuration import load
from est_server.storage.sqlite import SqliteLedger

VERIFIER = REPOSITORY / "interop" / "audit-verify"


def outside(server, *arguments):
    """Run the stranger's verifier; return its exit code and what it says."""
    done = subprocess.run(
        [sys.executable, VERIFIER / "verify.py", *arguments,
         "--key", server.directory / "keys" / "audit.pub"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def ledger_file(server):
    return server.directory / "state" / "ledger.db"


def by_hand(server, *statements):
    with closing(sqlite3.connect(ledger_file(server))) as db:
        for statement in statements:
            assert db.execute(statement).rowcount != 0
        db.commit()


async def enroll(server, credentials, count):
    async with session(server, credentials) as client:
        found = []
        for number in range(count):
            status, body, _ = await post(client, server, csr(f"device-{number}"))
            assert status == 200
            found.append(issued(body).serial_number)
        return found


def slowly(server):
    """Let nothing get its place by itself while a test runs."""
    text = server.config.read_text()
    server.config.write_text(text.replace("audit:", "audit:\n  every: 1h", 1))
    return server


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A server that was killed between what it did and the log's next checkpoint."""
    server = slowly(initialise(tmp_path_factory.mktemp("audit") / "server", "--interop"))
    credentials = server.credential("fleet", "interop")
    process = subprocess.Popen(
        [sys.executable, "-m", "est_server.cli", "serve", "-c", server.config],
        cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        host, port = server.est.split(":")
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection((host, int(port)), 1).close()
                break
            except OSError:
                time.sleep(0.05)
        serials = asyncio.run(enroll(server, credentials, 6))
        done = CliRunner().invoke(
            app, ["cert", "revoke", f"{serials[0]:x}", "--reason", "keyCompromise",
                  "-c", str(server.config)]
        )  # fmt: skip
        assert done.exit_code == 0, done.output
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    with closing(sqlite3.connect(ledger_file(server))) as db:
        (waiting,) = db.execute("SELECT count(*) FROM audit_leaves WHERE position IS NULL")
        # first leaf, credential, profile and configuration at the start, six certificates, OCSP
        # responder and more of the server's own, the revocation
        assert waiting[0] >= 10
        assert db.execute("SELECT count(*) FROM audit_checkpoints").fetchone() == (0,)
    return server, serials, waiting[0]


def test_killed_between_act_and_checkpoint_nothing_is_lost(site):
    server, _, waiting = site
    found = audit(server, "verify")
    assert found["findings"] == []
    assert (found["ok"], found["signed"], found["waiting"]) == (True, True, 0)
    assert found["leaves"] == waiting
    assert found["rows"] > 18


def test_a_server_that_starts_takes_up_what_another_left(site, tmp_path):
    server = copied(site, tmp_path)
    with serving(server):
        pass  # its last turn is at its stop
    found = audit(server, "verify")
    assert found["ok"]
    with closing(sqlite3.connect(ledger_file(server))) as db:
        signed = db.execute("SELECT max(size) FROM audit_checkpoints").fetchone()
    assert signed == (found["leaves"],)


def copied(site, tmp_path):
    server, _, _ = site
    shutil.copytree(server.directory, tmp_path / "copy")
    return type(server)(tmp_path / "copy", server.est, server.public, server.admin)


def test_proofs_for_every_kind_of_name(site, tmp_path):
    server, serials, _ = site
    proofs = {name: audit(server, "prove", name) for name in (f"{serials[0]:x}", f"{serials[1]:x}")}
    revoked, other = proofs.values()
    assert [one["act"] for one in revoked] == ["issued", "certificate-revoked"]
    assert [one["act"] for one in other] == ["issued"]
    leaf = json.loads(other[0]["leaf"])
    named = {row["table"]: row["key"][0] for row in leaf["rows"]}
    assert int(named["certificates"], 16) == serials[1]
    for name in (named["decisions"], named["requests"]):
        assert audit(server, "prove", name)[0]["index"] == other[0]["index"]
    file = tmp_path / "proofs.json"
    file.write_text(json.dumps(revoked))
    code, said = outside(server, file)
    assert (code, said.count("ok: leaf")) == (0, 2)
    for key, wrong in {
        "index": other[0]["index"] ^ 1,
        "leaf": other[0]["leaf"].replace("issued", "denied"),
        "hashes": other[0]["hashes"][::-1],
        "checkpoint": other[0]["checkpoint"].replace("\ntime 2", "\ntime 3"),
    }.items():
        file.write_text(json.dumps([other[0] | {key: wrong}]))
        assert outside(server, file)[0] == 1, key
    assert refused(server, "prove", "nobody") == "audit.unknown"


def test_a_stranger_checks_the_export(site, tmp_path):
    server, _, _ = site
    found = audit(server, "verify")
    whole = tmp_path / "audit.jsonl"
    assert audit(server, "export", str(whole))["size"] == found["leaves"]
    assert outside(server, whole) == (0, f"ok: leaves 0 to {found['leaves'] - 1}, as signed\n")
    since = audit(server, "checkpoint")["size"]
    done = CliRunner().invoke(
        app, ["credential", "add", "later", "--profile", "interop", "-c", str(server.config)]
    )
    assert done.exit_code == 0
    audit(server, "checkpoint")
    part = tmp_path / "part.jsonl"
    audit(server, "export", str(part), "--since", str(since))
    lines = [json.loads(line) for line in part.read_text().splitlines()]
    assert [line["index"] for line in lines if "leaf" in line] == [since]
    assert outside(server, part)[0] == 0
    head = lines[0] | {"hashes": lines[0]["hashes"][::-1]}
    part.write_text("\n".join(map(json.dumps, [head, *lines[1:]])))
    assert outside(server, part)[0] == 1
    assert refused(server, "export", str(part), "--since", str(since - 1)) == "audit.checkpoint"


# what is done by hand -> whether a stranger with an export from before and one from after sees it
SEEN_OUTSIDE = {
    "a leaf altered": (
        ("UPDATE audit_leaves SET leaf = CAST(replace(CAST(leaf AS TEXT), 'interop', 'strict') AS"
        " BLOB) WHERE position = 5"), True,
    ),
    "a leaf removed": ("DELETE FROM audit_leaves WHERE position = 5", True),
    "leaves swapped": (
        ("UPDATE audit_leaves SET position = CASE position WHEN 5 THEN -6 ELSE -5 END"
        " WHERE position IN (5, 6)"), True,
    ),
    "the tail cut": (("DELETE FROM audit_checkpoints WHERE size = (SELECT max(size) FROM"
                     " audit_checkpoints)"), True),
    "a checkpoint altered": (
        "UPDATE audit_checkpoints SET note = replace(note, 'time 2', 'time 1')", True,
    ),
    "a tile altered": ("UPDATE audit_tiles SET hashes = zeroblob(length(hashes))", False),
    "a certificate altered": ("UPDATE certificates SET subject = 'CN=other'", False),
    "a revocation taken back": ("UPDATE certificates SET status = 'good'", False),
    "a device inserted": ("INSERT INTO devices VALUES ('x', 'p', 'active', '{}', 0, 0)", False),
}  # fmt: skip


@pytest.mark.parametrize("kind", SEEN_OUTSIDE)
def test_what_a_stranger_sees(site, tmp_path, kind):
    statement, seen = SEEN_OUTSIDE[kind]
    server = copied(site, tmp_path)
    anchor = tmp_path / "anchor"
    anchor.write_text(audit(server, "checkpoint")["note"])
    by_hand(server, statement)
    if kind == "leaves swapped":
        by_hand(server, "UPDATE audit_leaves SET position = -position WHERE position < 0")
    assert not audit(server, "verify", "--anchor", str(anchor), code=1)["ok"]
    out = tmp_path / "audit.jsonl"
    audit(server, "export", str(out))
    code, said = outside(server, out, "--anchor", anchor)
    assert (code == 1) == seen, said


def test_the_readme_checks_one_leaf_by_hand(site, tmp_path, need):
    """The commands of interop/audit-verify/README.md, as they stand there."""
    need("openssl", "openssl")
    server, serials, _ = site
    (proof,) = audit(server, "prove", f"{serials[2]:x}")
    shutil.copy(server.directory / "keys" / "audit.pub", tmp_path)
    (tmp_path / "proof.json").write_text(json.dumps([proof]))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    script = re.search(r"```sh\n(.*?)```", (VERIFIER / "README.md").read_text(), re.DOTALL)[1]
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=tmp_path, capture_output=True, text=True,
        check=False, timeout=60, env=os.environ | {"PATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    assert done.stdout.rstrip().endswith("the leaf is in the log")


def test_anchors(site, tmp_path, need):
    """A file, a syslog socket, and a time-stamp by OpenSSL; verification knows all of them."""
    need("openssl", "openssl")
    server = copied(site, tmp_path)
    with (
        time_stamping(tmp_path / "tsa") as (url, root),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as collector,
    ):
        collector.bind(str(tmp_path / "log"))
        collector.settimeout(10)
        server.config.write_text(
            server.config.read_text()
            + f"  anchor:\n    file: {tmp_path}/anchored\n    syslog: unix:{tmp_path}/log\n"
            f"    timestamp: {{url: '{url}', roots: {root}}}\n"
        )
        size = audit(server, "checkpoint")["size"]
        anchored(server)
        line = collector.recv(65536).decode()
    assert line.startswith("<109>1 2")
    (tmp_path / "collected").write_text(f"{line}\nanother line of the collector\n")
    given = ("--anchor", str(tmp_path / "collected"))
    found = audit(server, "verify", *given)
    assert (found["ok"], found["anchored"], found["timestamps"]) == (True, 1, 1)
    out = tmp_path / "audit.jsonl"
    audit(server, "export", str(out))
    (stamp,) = [json.loads(line) for line in out.read_text().splitlines() if "timestamp" in line]
    checkpoint = audit(server, "checkpoint")["note"]
    (tmp_path / "note").write_text(checkpoint)
    (tmp_path / "stamp").write_bytes(base64.b64decode(stamp["timestamp"]))
    done = subprocess.run(
        ["openssl", "ts", "-verify", "-in", "stamp", "-data", "note", "-CAfile", root],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Verification: OK" in done.stdout, done.stderr
    # the tail is cut: each of the anchors tells
    by_hand(server, f"DELETE FROM audit_checkpoints WHERE size = {size}")
    told = {(one["rule"], one["key"]) for one in audit(server, "verify", code=1)["findings"]}
    assert ("audit.checkpoint.anchor", str(size)) in told
    assert ("audit.timestamp", str(size)) in told
    (tmp_path / "anchored").write_text("something else")
    assert refused(server, "verify") == "audit.anchor"


def test_an_anchor_that_fails_is_tried_again(site, tmp_path, need):
    need("openssl", "openssl")
    server = copied(site, tmp_path)
    text = server.config.read_text()
    with time_stamping(tmp_path / "tsa") as (url, root):
        pass
    server.config.write_text(
        f"{text}  anchor:\n    file: {tmp_path}/anchored\n"
        f"    timestamp: {{url: '{url}', roots: {root}}}\n"
    )
    audit(server, "checkpoint")
    anchored(server)  # nobody answers there
    assert audit(server, "verify")["timestamps"] == 0
    shutil.rmtree(tmp_path / "tsa")
    with time_stamping(tmp_path / "tsa") as (url, root):
        server.config.write_text(
            f"{text}  anchor:\n    timestamp: {{url: '{url}', roots: {root}}}\n"
        )
        anchored(server)
        assert audit(server, "verify")["timestamps"] == 1
        (tmp_path / "tsa" / "tsa.key").unlink()  # HTTP 500 from now on
        CliRunner().invoke(
            app, ["credential", "add", "x", "--profile", "interop", "-c", str(server.config)]
        )
        audit(server, "checkpoint")
        anchored(server)
        found = audit(server, "verify")
        assert (found["ok"], found["timestamps"]) == (True, 1)


def anchored(server):
    """Take a server's turn at its anchors."""

    async def work():
        ledger = SqliteLedger(ledger_file(server))
        keeper = AuditKeeper.of(load(server.config), ledger.audit, system_clock)
        await keeper.anchor()
        await ledger.close()

    asyncio.run(work())


def test_without_a_key(site, tmp_path):
    """A ledger from before: leaves get their places, nobody signs; then a key is made."""
    server = copied(site, tmp_path)
    text = server.config.read_text()
    server.config.write_text(text[: text.index("audit:")])
    by_hand(server, "DELETE FROM audit_checkpoints")
    found = audit(server, "verify")
    assert (found["ok"], found["signed"]) == (True, False)
    assert refused(server, "prove", "fleet") == "audit.unsigned"
    assert refused(server, "checkpoint") == "audit.unsigned"
    assert refused(server, "export", str(tmp_path / "out")) == "audit.unsigned"
    shutil.rmtree(server.directory / "keys")
    (server.directory / "secrets" / "audit.pass").unlink()
    section = audit(server, "init", "--origin", "new.example/audit")["section"]
    server.config.write_text(server.config.read_text() + section)
    CliRunner().invoke(
        app, ["credential", "add", "y", "--profile", "interop", "-c", str(server.config)]
    )
    found = audit(server, "verify")
    assert (found["ok"], found["signed"], found["checkpoints"]) == (True, True, 1)
    assert refused(server, "init") == "system"


def doctor(server):
    done = CliRunner().invoke(app, ["doctor", "-c", str(server.config), "-o", "json"])
    return [
        (one["status"], one["detail"]) for one in json.loads(done.stdout) if one["check"] == "audit"
    ]


def test_doctor(site, tmp_path):
    server = copied(site, tmp_path)
    audit(server, "checkpoint")
    (unanchored, standing) = doctor(server)
    assert unanchored[0] == "warn"
    assert standing[0] == "ok"
    assert "checkpoint of" in standing[1]
    text = server.config.read_text()
    server.config.write_text(f"{text}  anchor: {{file: anchored}}\n")
    assert [status for status, _ in doctor(server)] == ["ok"]
    server.config.write_text(text.replace("origin: localhost/audit", "origin: other/audit"))
    assert [status for status, _ in doctor(server)] == ["warn", "fail"]
    server.config.write_text(text)
    (server.directory / "secrets" / "audit.pass").write_text("wrong")
    ((status, detail),) = doctor(server)
    assert (status, "under this passphrase" in detail) == ("fail", True)
    server.config.write_text(text[: text.index("audit:")])
    ((status, detail),) = doctor(server)
    assert (status, "nobody signs" in detail) == ("warn", True)


def test_another_key_is_told(site, tmp_path):
    """A key that was replaced is not believed until it is named."""
    server = copied(site, tmp_path)
    audit(server, "checkpoint")
    former = server.directory / "former.pub"
    (server.directory / "keys" / "audit.pub").rename(former)
    (server.directory / "keys" / "audit.key").unlink()
    (server.directory / "secrets" / "audit.pass").unlink()
    audit(server, "init")
    rules = {one["rule"] for one in audit(server, "verify", code=1)["findings"]}
    assert "audit.checkpoint.signature" in rules
    assert ("fail", "the checkpoint") in [(one, two[:14]) for one, two in doctor(server)]
    text = server.config.read_text()
    server.config.write_text(text.replace("audit:\n", "audit:\n  former_keys: [former.pub]\n", 1))
    assert audit(server, "verify")["ok"]
    by_former = audit(server, "verify", "--key", str(former))
    assert by_former["ok"]

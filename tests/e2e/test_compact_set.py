"""A compact set from a real server, checked by programs that know nothing of it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from device_world import csr, issued, post, session
from est_process import REPOSITORY

DEADLINE = 30.0
INTEROP = REPOSITORY / "interop" / "compact-set"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def server(new_server, serve, tmp_path_factory):
    made = new_server(tmp_path_factory.mktemp("compact") / "server")
    sections = (
        "    crl: {directory: public/crl}\n"
        "    compact: {every: 10m, lifetime: 1h, lag: 15m}\n    backend: soft"
    )
    made.config.write_text(made.config.read_text().replace("    backend: soft", sections, 1))
    with serve(made) as running:
        yield running


def older(server, certificate):
    """Return a certificate as it would be had it been issued two hours ago; the ledger agrees."""
    key = load_pem_private_key(
        (server.directory / "ca/issuing.key").read_bytes(),
        (server.directory / "secrets/ca.pass").read_bytes().strip(),
    )
    begins = certificate.not_valid_before_utc - timedelta(hours=2)
    builder = x509.CertificateBuilder(
        certificate.issuer, certificate.subject, certificate.public_key(),
        certificate.serial_number, begins, certificate.not_valid_after_utc,
        list(certificate.extensions),
    )  # fmt: skip
    made = builder.sign(key, hashes.SHA256())
    db = sqlite3.connect(server.directory / "state/ledger.db")
    with db:
        done = db.execute(
            "UPDATE certificates SET not_before = ?, der = ? WHERE serial_number = ?",
            (
                (begins - EPOCH) // timedelta(microseconds=1),
                made.public_bytes(Encoding.DER),
                f"{made.serial_number:040x}",
            ),
        )
        assert done.rowcount == 1
    db.close()
    return made


@pytest.fixture(scope="module")
def fleet(server, tmp_path_factory):
    """Return the files of four certificates by what becomes of them, the last one brand new."""
    folder = tmp_path_factory.mktemp("fleet")

    async def enroll(name):
        made = server.json("device", "add", name, "--profile", "device", "--otp")
        async with session(server, (made["username"], made["password"])) as client:
            body = csr(name, ec.generate_private_key(ec.SECP256R1()))
            status, answer, _ = await post(client, server, body)
        assert status == 200, answer
        return issued(answer)

    files = {}
    for name in ("good", "revoked", "held", "new"):
        found = asyncio.run(enroll(f"SET-{name}"))
        found = found if name == "new" else older(server, found)
        files[name] = folder / f"{name}.pem"
        files[name].write_bytes(found.public_bytes(Encoding.PEM))
    for name, reason in (("revoked", "superseded"), ("held", "certificateHold")):
        server.run("cert", "revoke", serial(files[name]), "--reason", reason)
    return files


def serial(file):
    return f"{x509.load_pem_x509_certificate(file.read_bytes()).serial_number:x}"


async def get(server, method="GET", **headers):
    async with (
        aiohttp.ClientSession() as client,
        client.request(method, f"http://{server.public}/crl/issuing.set", headers=headers) as got,
    ):
        return got.status, got.headers, await got.read()


def publish(server, path):
    """Publish a set now, and fetch it into a file from the server, which has to follow."""
    (made,) = [one for one in server.json("crl", "publish") if one["kind"] == "compact"]
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        status, _, body = asyncio.run(get(server))
        path.write_bytes(body)
        done = check(path, server, path.with_name("nobody.pem"), "--least-number", made["number"])
        if status == 200 and "older" not in done.stdout:
            return made
        time.sleep(0.1)
    raise AssertionError("the server does not hand it out")


def check(path, server, certificate, *options, issuer="ca/issuing.pem"):
    if not certificate.exists():
        certificate.write_bytes((server.directory / "tls/server.pem").read_bytes())
    return subprocess.run(
        [
            sys.executable, INTEROP / "check_set.py", path, server.directory / issuer, certificate,
            *map(str, options),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


ANSWERS = {"good": ("good", 0), "revoked": ("revoked", 1), "held": ("revoked", 1)}
ANSWERS["new"] = ("not-covered", 3)


def test_a_verifier_that_asks_nobody_tells_the_truth(server, fleet, tmp_path):
    path = tmp_path / "issuing.set"
    first = publish(server, path)
    for name, (answer, code) in ANSWERS.items():
        done = check(path, server, fleet[name])
        assert (done.stdout.partition(":")[0], done.returncode) == (answer, code), done.stderr
    # what the CA signed past the ledger, before it knew anybody: the server's own certificate
    assert check(path, server, tmp_path / "nobody.pem").returncode == 3
    # a hold that was taken back; and the set before, to who has seen the one after
    server.run("cert", "release", serial(fleet["held"]))
    later = tmp_path / "later.set"
    second = publish(server, later)
    assert second["number"] > first["number"]
    assert check(later, server, fleet["held"]).returncode == 0
    done = check(path, server, fleet["held"], "--least-number", second["number"])
    assert done.returncode == 4
    assert "is older than one that was seen" in done.stdout
    server.run("cert", "revoke", serial(fleet["held"]), "--reason", "certificateHold")


def test_what_is_not_to_be_believed_is_not(server, fleet, tmp_path):
    path, bad = tmp_path / "issuing.set", tmp_path / "bad.set"
    publish(server, path)
    octets = path.read_bytes()
    at = octets.index(b"CSET")
    for wrong in (
        octets[:-1],
        octets[: at + 68] + bytes(4) + octets[at + 72 :],  # nobody is revoked
        octets[:-1] + bytes([octets[-1] ^ 1]),
        b"",
    ):
        bad.write_bytes(wrong)
        assert check(bad, server, fleet["revoked"]).returncode == 4
    assert check(path, server, fleet["revoked"], issuer="ca/root.pem").returncode == 4
    now = int(time.time())
    assert check(path, server, fleet["revoked"], "--at", now + 3700).returncode == 4
    assert check(path, server, fleet["revoked"], "--at", now - 3600).returncode == 4
    assert check(path, server, fleet["revoked"], "--no-clock").returncode == 1


def test_openssl_and_a_page_of_c_say_the_same(server, fleet, tmp_path, need):
    need("openssl", "openssl")
    need("gcc libc6-dev", "cc")
    path, content, program = (tmp_path / name for name in ("set", "content", "check_set"))
    publish(server, path)
    ca = server.directory / "ca"
    subprocess.run(
        [
            "openssl", "cms", "-verify", "-inform", "DER", "-in", path, "-binary", "-out", content,
            "-purpose", "crlsign", "-certfile", ca / "issuing.pem", "-CAfile", ca / "root.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    subprocess.run(["cc", "-std=gnu99", "-o", program, INTEROP / "check_set.c"], check=True)
    for name, (answer, code) in ANSWERS.items():
        found = x509.load_pem_x509_certificate(fleet[name].read_bytes())
        dates = (found.not_valid_before_utc, found.not_valid_after_utc)
        command = [program, content, serial(fleet[name]).zfill(40)]
        done = subprocess.run(
            [*command, *(str(int(date.timestamp())) for date in dates)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert (done.stdout.strip(), done.returncode) == (answer, code)


def test_it_is_good_to_caches(server, fleet, tmp_path):
    publish(server, tmp_path / "set")
    status, headers, body = asyncio.run(get(server))
    assert (status, headers["Content-Type"].partition(";")[0]) == (200, "application/cms")
    age = int(headers["Cache-Control"].partition("max-age=")[2].partition(",")[0])
    assert 500 < age <= 600, "until the next is due"
    for condition in (
        {"If-None-Match": headers["ETag"]},
        {"If-Modified-Since": headers["Last-Modified"]},
    ):
        status, again, nothing = asyncio.run(get(server, **condition))
        assert (status, nothing, again["ETag"]) == (304, b"", headers["ETag"])
    status, again, nothing = asyncio.run(get(server, "HEAD"))
    assert (status, nothing, int(again["Content-Length"])) == (200, b"", len(body))
    assert asyncio.run(get(server, "POST"))[0] == 405


def test_the_commands_and_the_directory_agree(server, fleet, tmp_path):
    path = tmp_path / "issuing.set"
    made = publish(server, path)
    assert (made["file"], made["shard"], made["base"]) == ("issuing.set", 0, None)
    listed = [one for one in server.json("crl", "list") if one["kind"] == "compact"]
    assert listed[-1]["number"] == made["number"]
    (verdict,) = [one for one in server.json("crl", "verify") if one["list"] == "issuing.set"]
    assert verdict["ok"], verdict
    folder, deadline = server.directory / "public/crl", time.monotonic() + DEADLINE
    while (folder / "issuing.set").read_bytes() != path.read_bytes():
        assert time.monotonic() < deadline, "it is not in the directory"
        time.sleep(0.1)
    issuer = ("--issuer", str(server.directory / "ca/issuing.pem"))
    command = [sys.executable, "-m", "est_server.cli", "crl", "check", str(path)]
    for name, (answer, _) in ANSWERS.items():
        done = subprocess.run(
            [*command, str(fleet[name]), *issuer, "-o", "json"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert f'"answer": "{answer}"' in done.stdout, done.stderr
        assert done.returncode == (answer != "good")
    old = ("--least-number", str(made["number"] + 1))
    done = subprocess.run(
        [*command, str(fleet["good"]), *issuer, *old], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "compact-set.old" in done.stderr

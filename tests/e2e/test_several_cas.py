"""One server with three CAs: one in a file, one of a stranger's package, one that is broken."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from device_world import csr, issued, post, session
from est_process import REPOSITORY, initialise, serving
from stranger import install

from est_server.testing import MovedClock
from est_server.testing.issuer import FakeIssuer
from est_server.testing.scripted import Records, ScriptedWorld

SOON = 30.0
CAS = """
  elsewhere:
    backend: acme
    records: elsewhere
  broken:
    backend: soft
    certificate: ca/issuing.pem
    key: file:ca/broken.key
    passphrase: file:secrets/ca.pass
    chain: [ca/root.pem]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    install(site)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(site)
    yield site
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


def three_cas(directory):
    """Make a server with a CA of its own, one of a stranger's package, and one that is broken."""
    made = initialise(directory, "--interop")
    text = made.config.read_text()
    made.config.write_text(text.replace("\nstate:", f"{CAS}\nstate:", 1))
    profile = (made.directory / "profiles" / "interop.yaml").read_text()
    for name in ("elsewhere", "broken"):
        changed = profile.replace("labels: [interop, default]", f"labels: [{name}]")
        changed = changed.replace("ca: issuing", f"ca: {name}")
        (made.directory / "profiles" / f"{name}.yaml").write_text(changed)
    (made.directory / "elsewhere").mkdir()
    key = made.directory / "ca" / "broken.key"
    key.touch(0o600)
    key.write_text("this is no key")
    return made


@pytest.fixture(scope="module")
def server(site, tmp_path_factory):
    with serving(three_cas(tmp_path_factory.mktemp("three") / "server")) as running:
        yield running


@pytest.fixture
def world(server):
    found = ScriptedWorld(server.directory / "elsewhere", MovedClock())
    yield found
    asyncio.run(found.heal())


@pytest.fixture(scope="module")
def users(server):
    return {
        profile: server.credential(f"lab-{profile}", profile)
        for profile in ("interop", "elsewhere", "broken")
    }


async def enrolled(server, users, label, body=None):
    async with session(server, users[label]) as client:
        return await post(client, server, body or csr(), f"{label}/simpleenroll")


async def until(wanted, said):
    """Ask again until the answer is as wanted; what the last one was is said otherwise."""
    deadline = time.monotonic() + SOON
    while not wanted(found := await said()):
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.2)
    return found


def admin(server, path):
    context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(f"https://{server.admin}/{path}", context=context) as got:
            return got.status, got.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def doctor(server):
    done = subprocess.run(
        [sys.executable, "-m", "est_server.cli", "doctor", "-c", server.config, "-o", "json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [one for one in json.loads(done.stdout) if one["status"] != "ok"]
    return done.returncode, [one for one in found if one["check"] in {"ca", "orders"}]


async def test_a_broken_ca_stops_nobody_else_and_comes_back(server, users, world):
    assert (await enrolled(server, users, "interop"))[0] == 200
    status, body, _ = await enrolled(server, users, "elsewhere")
    assert status == 200
    assert issued(body) in await world.issued()
    status, body, headers = await enrolled(server, users, "broken")
    assert (status, int(headers["Retry-After"]) > 0) == (503, True)
    assert b"ca.unusable" in body
    assert b"broken.key" not in body, "nothing internal is told"
    for page in ("cacerts", "csrattrs"):
        async with session(server) as client, client.get(f"{server.url}/broken/{page}") as got:
            assert (got.status, "Retry-After" in got.headers) == (503, True)
    status, said = admin(server, "readyz")
    assert status == 200, "two of three work"
    check = json.loads(said)["checks"]["ca broken"]
    assert not check["ok"]
    assert "check `key`" in check["detail"], "the operator is told"
    code, findings = doctor(server)
    assert code == 1
    assert [one["detail"].split(":")[0] for one in findings] == ["broken"]
    assert "check `key`" in findings[0]["next"]
    listed = {ca["name"]: ca for ca in server.json("ca", "list")}
    assert listed["broken"]["unusable"].startswith("ca.unusable")
    assert listed["elsewhere"]["backend"] == "acme"

    key = server.directory / "ca" / "broken.key"
    key.write_bytes((server.directory / "ca" / "issuing.key").read_bytes())
    await until(lambda got: got[0] == 200, lambda: enrolled(server, users, "broken"))
    checks = json.loads(admin(server, "readyz")[1])["checks"]
    assert all(check["ok"] for check in checks.values()), checks


async def test_a_lost_answer_is_found(server, users, world):
    before = len(await world.issued())
    body = csr()
    await world.fail("lost-reply")
    status, _, headers = await enrolled(server, users, "elsewhere", body)
    assert (status, int(headers["Retry-After"]) > 0) == (503, True)
    _, answer, _ = await until(
        lambda got: got[0] == 200, lambda: enrolled(server, users, "elsewhere", body)
    )
    made = await world.issued()
    assert len(made) == before + 1, "issued once"
    assert issued(answer) in made

    async def metrics():
        return admin(server, "metrics")[1]

    settled = 'est_server_ca_orders{ca="elsewhere",state="unknown"} 0.0'
    await until(lambda text: settled in text, metrics)


async def test_a_ca_that_is_too_busy_frees_the_request(server, users, world):
    body = csr()
    await world.fail("throttle")
    assert (await enrolled(server, users, "elsewhere", body))[0] == 503
    assert (await enrolled(server, users, "elsewhere", body))[0] == 200


async def test_a_ca_that_has_not_decided(server, users, world):
    before = len(await world.issued())
    body = csr()
    await world.fail("pending")
    status, _, headers = await enrolled(server, users, "elsewhere", body)
    assert (status, int(headers["Retry-After"]) >= 5) == (202, True)
    assert (await enrolled(server, users, "elsewhere", body))[0] == 202
    [row] = server.json("request", "list", "--state", "waiting-for-ca")
    await world.heal()
    polls = [enrolled(server, users, "elsewhere", body) for _ in range(3)]
    assert {got[0] for got in await asyncio.gather(*polls)} == {202}, "not before its time"
    await until(lambda got: got[0] == 200, lambda: enrolled(server, users, "elsewhere", body))
    assert len(await world.issued()) == before + 1
    assert server.json("request", "list", "--state", "waiting-for-ca") == []
    assert row["request"].startswith("r_")


async def test_an_approved_request_waits_for_its_ca_through_a_restart(site, tmp_path):
    made = three_cas(tmp_path / "server")
    profile = made.directory / "profiles" / "elsewhere.yaml"
    profile.write_text(profile.read_text() + "\napproval: {mode: manual}\n")
    users = {"elsewhere": made.credential("lab", "elsewhere")}
    world = ScriptedWorld(made.directory / "elsewhere", MovedClock())
    key = ec.generate_private_key(ec.SECP256R1())

    async def poll():
        return await enrolled(made, users, "elsewhere", csr(key=key))  # signed anew each time

    with serving(made):
        assert (await poll())[0] == 202
        [review] = made.json("request", "list", "--state", "waiting")
        made.run("request", "approve", review["request"])
        await world.fail("pending")
        status, _, headers = await poll()
        assert (status, int(headers["Retry-After"]) >= 5) == (202, True)
        [row] = made.json("request", "list", "--state", "waiting-for-ca")
        assert made.json("request", "show", review["request"])["state"] == "issuing"
    await world.heal()
    with serving(made):

        async def polls():
            return await asyncio.gather(*(poll() for _ in range(5)))

        answers = await until(lambda found: {got[0] for got in found} == {200}, polls)
        [certificate] = await world.issued()
        assert {issued(body) for _, body, _ in answers} == {certificate}
        assert made.json("request", "show", review["request"])["state"] == "issued"
        assert made.json("request", "show", review["request"])["issued_as"] == row["request"]


async def test_a_wrong_answer_is_refused_kept_revoked_and_told(server, users, world):
    body = csr()
    await world.fail("wrong-key")
    status, text, _ = await enrolled(server, users, "elsewhere", body)
    assert status == 502
    assert text.startswith(b"issued.key")
    [row] = server.json("request", "list", "--state", "parked")
    shown = server.json("request", "show", row["request"])
    [serial] = shown["certificates"]
    assert shown["can"]
    assert server.json("cert", "show", serial)["status"] == "revoked"

    async def revoked():
        return await world.revoked()

    await until(lambda found: int(serial, 16) in found, revoked)
    code, findings = doctor(server)
    assert code == 1
    assert row["request"] in findings[0]["detail"]

    async def metrics():
        return admin(server, "metrics")[1]

    alarm = 'est_server_ca_orders{ca="elsewhere",state="refused"} 1.0'
    await until(lambda text: alarm in text, metrics)
    assert (await enrolled(server, users, "elsewhere", body))[0] == 202, "nobody asks again"
    server.run("request", "resolve", row["request"], "--not-issued")
    assert (await enrolled(server, users, "elsewhere", body))[0] == 200


async def test_a_person_brings_what_the_ca_made(server, users, world, tmp_path):
    body = csr()
    await world.fail("timeout-after-accept")
    assert (await enrolled(server, users, "elsewhere", body))[0] == 503
    [row] = server.json("request", "list", "--state", "parked")
    assert "the server asks again" in doctor(server)[1][0]["detail"]
    assert resolve(server, row, "--recheck") == (1, "parked"), "the CA can't tell yet"
    with Records(server.directory / "elsewhere").opened() as db:
        [(der,)] = db.execute("SELECT der FROM orders WHERE NOT decided").fetchall()
    other = tmp_path / "other.pem"
    other.write_bytes((server.directory / "ca" / "issuing.pem").read_bytes())
    assert resolve(server, row, "--certificate", other)[0] == 1
    assert resolve(server, row, "--certificate", other, "--refuse")[0] == 1
    found = tmp_path / "found.pem"
    certificate = x509.load_der_x509_certificate(der)
    found.write_bytes(certificate.public_bytes(Encoding.PEM))
    assert resolve(server, row, "--certificate", found) == (0, "issued")
    status, answer, _ = await enrolled(server, users, "elsewhere", body)
    assert (status, issued(answer)) == (200, certificate)
    assert resolve(server, row, "--not-issued")[0] == 1, "it is settled"
    assert resolve(server, row)[0] == 2


def resolve(server, row, *options):
    done = subprocess.run(
        [sys.executable, "-m", "est_server.cli", "request", "resolve", row["request"], *options,
         "-c", server.config, "-o", "json"],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        return done.returncode, json.loads(done.stdout).get("state")
    except ValueError:
        return done.returncode, None


async def test_a_revocation_reaches_the_ca(server, users, world):
    _, answer, _ = await enrolled(server, users, "elsewhere")
    serial = issued(answer).serial_number
    server.run("cert", "revoke", f"{serial:x}", "--reason", "superseded", "--yes")

    async def revoked():
        return await world.revoked()

    await until(lambda found: serial in found, revoked)


async def test_a_ca_that_has_another_certificate_is_followed(server, tmp_path):
    # the last test here: what the CA signs does not fit any more
    before = await cacerts(server, "elsewhere")
    FakeIssuer.in_folder(tmp_path)
    for file in tmp_path.iterdir():
        file.rename(server.directory / "elsewhere" / file.name)
    fresh = FakeIssuer.in_folder(server.directory / "elsewhere").certificates()
    assert fresh.issuer not in before
    await until(lambda found: fresh.issuer in found, lambda: cacerts(server, "elsewhere"))
    assert fresh.issuer not in await cacerts(server, "interop")


async def cacerts(server, label):
    async with session(server) as client, client.get(f"{server.url}/{label}/cacerts") as got:
        return pkcs7.load_der_pkcs7_certificates(base64.b64decode(await got.read()))

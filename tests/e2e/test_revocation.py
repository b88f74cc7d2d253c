"""From `cert revoke` in one process to every relying party of the server in another."""

from __future__ import annotations

import asyncio
import gzip
import os
import ssl
import subprocess
import tempfile
import time

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from device_world import csr, issued, post, session

from est_server.app.clock import system_clock
from est_server.ports.revocation import Revocation
from est_server.wire.crl_reading import read_crl

DEADLINE = 20.0


@pytest.fixture(scope="module")
def server(new_server, serve, tmp_path_factory):
    """Serve with partial lists, and a directory for another web server."""
    made = new_server(tmp_path_factory.mktemp("revocation") / "server")
    text = made.config.read_text()
    crl = "    crl: {shards: 2, directory: public/crl}\n    backend: soft"
    made.config.write_text(text.replace("    backend: soft", crl, 1))
    with serve(made) as running:
        yield running


class Devices:
    """Registers devices and enrolls them."""

    def __init__(self, server):
        self.server, self.count = server, 0

    async def enroll(self, key=None):
        self.count += 1
        name, key = f"REV-{self.count}", key or ec.generate_private_key(ec.SECP256R1())
        made = self.server.json("device", "add", name, "--profile", "device", "--otp")
        async with session(self.server, (made["username"], made["password"])) as client:
            status, body, _ = await post(client, self.server, csr(name, key))
        assert status == 200, body
        return name, key, issued(body)


@pytest.fixture(scope="module")
def devices(server):
    return Devices(server)


def as_device(server, certificate, key):
    """Return a session that shows a certificate."""
    trust = ssl.create_default_context(cafile=server.root)
    with tempfile.NamedTemporaryFile() as file:
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write(certificate.public_bytes(Encoding.PEM) + private)
        file.flush()
        trust.load_cert_chain(file.name)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trust))


async def fetch(server, name, **headers):
    """Return status, headers and body as they came."""
    async with (
        aiohttp.ClientSession(auto_decompress=False, headers={"Accept-Encoding": ""}) as client,
        client.get(f"http://{server.public}/crl/{name}", headers=headers) as got,
    ):
        return got.status, got.headers, await got.read()


async def until_listed(server, name, serial, *, there=True):
    """Return the list once it names, or names no more, a serial number; and how long it took."""
    begin = time.monotonic()
    while time.monotonic() < begin + DEADLINE:
        status, _, body = await fetch(server, name)
        if status == 200:
            entries = {entry.serial_number: entry.reason for entry in read_crl(body).entries()}
            if (serial in entries) is there:
                return entries.get(serial), time.monotonic() - begin
        await asyncio.sleep(0.05)
    raise AssertionError(f"{name} does not say so after {DEADLINE} s")


def pointers(certificate):
    extensions = certificate.extensions
    points = extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    freshest = extensions.get_extension_for_class(x509.FreshestCRL).value
    return [found.full_name[0].value for found in (*points, *freshest)]


async def test_a_revoked_device_is_locked_out_and_everybody_can_know(server, devices):
    name, key, certificate = await devices.enroll()
    serial = f"{certificate.serial_number:x}"
    shard = certificate.serial_number % 2 + 1
    urls = pointers(certificate)
    assert [url.rpartition("/crl/")[2] for url in urls] == [
        f"issuing-{shard}.crl", f"issuing-{shard}-delta.crl",
    ]  # fmt: skip
    done = server.json("cert", "revoke", serial, "--reason", "keyCompromise", "--note", "stolen")
    assert (done["action"], done["reason"], done["note"]) == ("revoked", "keyCompromise", "stolen")
    # at once: neither a renewal with the certificate nor a new one with the key
    async with as_device(server, certificate, key) as client:
        status, body, _ = await post(client, server, csr(name, key), "simplereenroll")
        assert (status, body.split(b":")[0]) == (403, b"certificate.revoked")
    made = server.json("device", "add", "REV-again", "--profile", "device", "--otp")
    async with session(server, (made["username"], made["password"])) as client:
        status, body, _ = await post(client, server, csr("REV-again", key))
        assert (status, body.split(b":")[0]) == (403, b"key.compromised")
    # within seconds, in the complete delta and in that of its part
    for file in (f"issuing-{shard}-delta.crl", "issuing-delta.crl"):
        reason, _ = await until_listed(server, file, certificate.serial_number)
        assert reason == "key_compromise"
    other = read_crl((await fetch(server, f"issuing-{3 - shard}-delta.crl"))[2])
    assert certificate.serial_number not in {entry.serial_number for entry in other.entries()}
    shown = server.json("cert", "show", serial)
    assert (shown["status"], shown["crl_shard"]) == ("revoked", shard)
    assert [event["note"] for event in shown["events"]] == ["stolen"]
    (decision,) = server.json("why", serial)
    assert decision["events"] == shown["events"]
    assert ", keyCompromise: stolen" in server.run("why", serial)
    with pytest.raises(pytest.fail.Exception, match=r"revocation\.revoked"):
        server.run("cert", "revoke", serial, "--reason", "superseded")


async def test_a_hold_comes_and_goes(server, devices):
    name, key, certificate = await devices.enroll()
    serial = f"{certificate.serial_number:x}"
    server.run("cert", "revoke", serial, "--reason", "certificateHold")
    async with as_device(server, certificate, key) as client:
        status, body, _ = await post(client, server, csr(name, key), "simplereenroll")
        assert (status, body.split(b":")[0]) == (403, b"certificate.held")
        reason, _ = await until_listed(server, "issuing-delta.crl", certificate.serial_number)
        assert reason == "certificate_hold"
        assert server.json("cert", "release", serial)["action"] == "released"
        status, body, _ = await post(client, server, csr(name, key), "simplereenroll")
        assert status == 200
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        reason, _ = await until_listed(server, "issuing-delta.crl", certificate.serial_number)
        if reason == "remove_from_crl":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the delta does not take it back")


async def test_many_are_revoked_after_their_number_was_confirmed(server, devices):
    name, _, first = await devices.enroll()
    with pytest.raises(pytest.fail.Exception, match=r"revocation\.unconfirmed: 1 cert"):
        server.run("cert", "revoke", "--device", name)
    with pytest.raises(pytest.fail.Exception, match=r"revocation\.count"):
        server.run("cert", "revoke", "--device", name, "--count", "7")
    dry = server.json("cert", "revoke", "--device", name, "--dry-run")
    assert (dry["matched"], dry["changed"]) == (1, 0)
    done = server.json("cert", "revoke", "--device", name, "--count", "1")
    assert (done["matched"], done["changed"]) == (1, 1)
    again = server.json("cert", "revoke", "--device", name, "--yes")
    assert (again["matched"], again["changed"]) == (0, 0)
    with pytest.raises(pytest.fail.Exception, match="exit code 2"):
        server.run("cert", "revoke", "--device", name, "--ca", "issuing", "--yes")
    past = ("--issued-between", "2001-01-01", "2002-01-01")
    assert server.json("cert", "revoke", *past, "--dry-run")["matched"] == 0
    await until_listed(server, "issuing-delta.crl", first.serial_number)


async def test_lists_are_good_to_caches(server):
    for name in ("issuing.crl", "issuing-delta.crl"):
        status, headers, body = await fetch(server, name)
        crl = read_crl(body)
        assert (status, headers["Content-Type"]) == (200, "application/pkix-crl")
        age = int(headers["Cache-Control"].partition("max-age=")[2].partition(",")[0])
        left = crl.next_update.timestamp() - time.time()
        assert 0 <= age <= left + 1
        assert (age <= 1) is (name == "issuing-delta.crl")
        assert headers["Last-Modified"].endswith(" GMT")
        for condition in (
            {"If-None-Match": f'"x", W/{headers["ETag"]}'},
            {"If-Modified-Since": headers["Last-Modified"]},
        ):
            status, again, nothing = await fetch(server, name, **condition)
            assert (status, nothing, again["ETag"]) == (304, b"", headers["ETag"])
        assert (await fetch(server, name, **{"If-None-Match": '"other"'}))[0] == 200
        async with (
            aiohttp.ClientSession() as client,
            client.head(f"http://{server.public}/crl/{name}") as got,
        ):
            assert (got.status, int(got.headers["Content-Length"])) == (200, len(body))
    assert (await fetch(server, "nobody.crl"))[0] == 404
    async with (
        aiohttp.ClientSession() as client,
        client.post(f"http://{server.public}/crl/issuing.crl") as got,
    ):
        assert (got.status, got.headers["Allow"]) == (405, "GET, HEAD")


async def test_the_directory_the_listener_and_the_commands_agree(server):
    found = {one["file"]: one for one in server.json("crl", "list")}
    published = server.json("crl", "publish")
    assert {one["shard"] for one in published if one["kind"] == "base"} == {0, 1, 2}
    for one in published:
        assert one["number"] > found[one["file"]]["number"]
    deadline = time.monotonic() + DEADLINE
    folder = server.directory / "public" / "crl"
    for one in published:
        while time.monotonic() < deadline:
            body = (await fetch(server, one["file"]))[2]
            number = read_crl(body).number
            if number >= one["number"] and body == (folder / one["file"]).read_bytes():
                break
            await asyncio.sleep(0.05)
        else:
            raise AssertionError(f"{one['file']} is not everywhere")
    assert not [path for path in folder.iterdir() if path.name.endswith(".new")]
    verdicts = server.json("crl", "verify")
    assert len(verdicts) == 9
    assert [one for one in verdicts if not one["ok"]] == []
    issuing = server.directory / "ca" / "issuing.pem"
    pair = (str(folder / "issuing.crl"), str(folder / "issuing-delta.crl"))
    assert all(one["ok"] for one in server.json("crl", "verify", *pair, "--issuer", str(issuing)))


async def test_metrics_tell_number_age_and_how_long_it_took(server):
    connector = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.get(f"https://{server.admin}/metrics") as got,
    ):
        text = await got.text()
    labels = '{ca="issuing",kind="base",shard="0"}'
    for name in (
        "number", "size_bytes", "this_update_timestamp_seconds", "next_update_timestamp_seconds",
    ):  # fmt: skip
        assert f"est_server_crl_{name}{labels} " in text
    count = next(
        line for line in text.splitlines()
        if line.startswith('est_server_crl_propagation_seconds_count{kind="delta"}')
    )  # fmt: skip
    assert float(count.rpartition(" ")[2]) > 0


async def test_openssl_reads_what_is_fetched(server, devices, tmp_path, need):
    need("openssl", "openssl")
    _, _, certificate = await devices.enroll()
    leaf = tmp_path / "leaf.pem"
    leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
    shard = certificate.serial_number % 2 + 1
    lists = []
    for name in (f"issuing-{shard}.crl", f"issuing-{shard}-delta.crl"):
        path = tmp_path / name
        path.write_bytes((await fetch(server, name))[2])
        lists += ["-CRLfile", str(path)]
    command = [
        "openssl", "verify", "-partial_chain", "-CAfile", str(server.directory / "ca/issuing.pem"),
        "-crl_check", "-extended_crl", "-use_deltas", *lists, str(leaf),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_gzip_is_what_it_says(server):
    async def both():
        _, plain, body = await fetch(server, "issuing.crl")
        _, packed, found = await fetch(server, "issuing.crl", **{"Accept-Encoding": "gzip"})
        return plain, body, packed, found

    plain, body, packed, found = asyncio.run(both())
    if "Content-Encoding" in packed:
        assert gzip.decompress(found) == body
        assert plain["ETag"] != packed["ETag"]
        assert packed["Vary"] == "Accept-Encoding"
    else:
        assert (found, packed["ETag"]) == (body, plain["ETag"])


@pytest.mark.slow
async def test_every_revocation_is_on_the_delta_within_two_seconds_under_load(interop_server):
    """Revoke one after the other while devices enroll; measure from the commit to the fetch."""
    server, count = interop_server, int(os.environ.get("REVOCATIONS", "200"))
    credentials = server.credential("propagation", "interop")
    ledger = server.ledger()
    waits, enrolled, stop = [], 0, asyncio.Event()

    async def load():
        nonlocal enrolled
        async with session(server, credentials) as client:
            while not stop.is_set():
                status, _, _ = await post(client, server, csr(f"load-{enrolled}"))
                assert status == 200
                enrolled += 1

    async with session(server, credentials) as client:
        made = [await post(client, server, csr(f"p-{number}")) for number in range(count)]
    serials = [issued(body).serial_number for _, body, _ in made]
    tasks = [asyncio.create_task(load()) for _ in range(2)]
    begin = time.monotonic()
    for serial in serials:
        order = Revocation("issuing", serial, "superseded", system_clock(), "test")
        await ledger.revocations.revoke([order])
        _, took = await until_listed(server, "issuing-delta.crl", serial)
        waits.append(took)
    seconds = time.monotonic() - begin
    stop.set()
    await asyncio.gather(*tasks)
    await ledger.close()
    waits.sort()
    print(
        f"\n{count} revocations, {enrolled / seconds:.0f} enrollments a second beside them: "
        f"p50 {waits[count // 2]:.2f} s, p99 {waits[int(count * 0.99)]:.2f} s, "
        f"most {waits[-1]:.2f} s"
    )
    assert waits[-1] <= 2.0

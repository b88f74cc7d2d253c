"""A server with two CAs, one on its disk and one in a token, and what becomes of it when it goes.

The long form of the kills is `make chaos`: KILLS=200.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from hashlib import sha256
from urllib.request import urlopen

import aiohttp
import pytest
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from device_world import csr, issued, post, session
from est_process import EstServer, est_server, initialise, serving
from pkcs11_tokens import MODULE, PIN, new_token
from signing_processes import ready_pid, signers

KILLS = int(os.environ.get("KILLS", "4"))
DEVICES = 6
WITHIN = 60.0  # seconds, on a machine that does other things too


@pytest.fixture(scope="module")
def token(tmp_path_factory, need):
    need("softhsm2", MODULE, "softhsm2-util")
    folder = tmp_path_factory.mktemp("token")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
        yield new_token(folder)


def with_token(server: EstServer, token) -> EstServer:
    """Give a server that does not run yet a second CA, `hsm`, with a label of its own."""
    made = server.json("ca", "init", "hsm", "--token", token.uri(object=None), "--pin",
                       f"file:{token.pin}", "--root", "file")  # fmt: skip
    keys = [f"    {name}: {value}" for name, value in made["settings"].items() if name != "chain"]
    more = ["    chain: [ca/hsm-root.pem]", "    sessions: 3"]
    section = "\n".join(["cas:", "  hsm:", *keys, *more])
    text = server.config.read_text()
    server.config.write_text(text.replace("cas:", section, 1))
    profile = (server.directory / "profiles/interop.yaml").read_text()
    profile = profile.replace("labels: [interop, default]", "labels: [hsm]")
    profile = profile.replace("ca: issuing", "ca: hsm")
    (server.directory / "profiles/hsm.yaml").write_text(profile)
    return server


@pytest.fixture(scope="module")
def server(token, tmp_path_factory):
    directory = tmp_path_factory.mktemp("pkcs11") / "server"
    with serving(with_token(initialise(directory, "--interop"), token)) as running:
        yield running


def openssl(*arguments):
    done = subprocess.run(
        ["openssl", *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("label", ["interop", "hsm"])
def test_curl_and_openssl_enroll_from_both(server, run, tmp_path, label):
    login = server.credential(f"curl-{label}", label)
    root = server.root if label == "interop" else server.directory / "ca/hsm-root.pem"
    both = tmp_path / "both.pem"  # TLS is the other CA's
    both.write_bytes(server.root.read_bytes() + root.read_bytes())
    run("curl-openssl/run", f"{server.url}/{label}", both, *login, "ec", tmp_path)
    issuer = server.directory / ("ca/issuing.pem" if label == "interop" else "ca/hsm.pem")
    for leaf in ("cert1.pem", "renewed.pem", "cert2.pem"):
        code, said = openssl("verify", "-CAfile", root, "-untrusted", issuer, tmp_path / leaf)
        assert code == 0, said


def test_its_lists_and_its_responder_satisfy_openssl(server, tmp_path):
    login = server.credential("revoked", "hsm")
    root, issuer = server.directory / "ca/hsm-root.pem", server.directory / "ca/hsm.pem"
    chain = tmp_path / "chain.pem"
    chain.write_bytes(issuer.read_bytes() + root.read_bytes())
    leaf = tmp_path / "leaf.pem"

    async def enroll():
        async with session(server, login) as client:
            status, body, _ = await post(client, server, csr("revoked"), "hsm/simpleenroll")
        assert status == 200, body
        return issued(body)

    certificate = asyncio.run(enroll())
    leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
    ocsp = ("ocsp", "-issuer", issuer, "-CAfile", chain, "-cert", leaf, "-url",
            f"http://{server.public}/ocsp", "-no_nonce")  # fmt: skip
    _, said = openssl(*ocsp)
    assert "Response verify OK" in said, said
    assert f"{leaf}: good" in said, said
    server.run("cert", "revoke", f"{certificate.serial_number:x}", "--reason", "keyCompromise",
               "--ca", "hsm", "--yes")  # fmt: skip
    end = time.monotonic() + WITHIN
    delta = tmp_path / "delta.crl"
    while True:
        with urlopen(f"http://{server.public}/crl/hsm-delta.crl", timeout=10) as got:
            delta.write_bytes(got.read())
        _, text = openssl("crl", "-inform", "DER", "-in", delta, "-noout", "-text",
                             "-CAfile", chain, "-verify")  # fmt: skip
        assert "verify OK" in text, text
        if f"{certificate.serial_number:x}".upper() in text.replace(":", ""):
            break
        assert time.monotonic() < end
        time.sleep(0.2)
    _, said = openssl(*ocsp)
    assert "Response verify OK" in said, said
    assert f"{leaf}: revoked" in said, said


class Fleet:
    """Devices that ask the same question until it is answered, as real ones do."""

    def __init__(self, server, credentials, label):
        self._server = server
        self._credentials = credentials
        self._path = f"{label}/simpleenroll"
        self.received: dict[bytes, int] = {}  # SHA-256 of the device's key -> serial number
        self.refused: Counter[int] = Counter()
        self.without_retry_after = 0
        self.slowest = 0.0
        self.latest: x509.Certificate | None = None

    async def device(self, stop):
        async with session(self._server, self._credentials) as client:
            while not stop.is_set():
                await self._enroll(client, csr(secrets.token_hex(8)), stop)

    async def _enroll(self, client, body, stop):
        while not stop.is_set():
            since = time.monotonic()
            try:
                status, answer, headers = await post(client, self._server, body, self._path)
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(0.02)
                continue
            self.slowest = max(self.slowest, time.monotonic() - since)
            if status == 200:
                certificate = issued(answer)
                key = certificate.public_key().public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                )
                assert sha256(key).digest() not in self.received
                self.received[sha256(key).digest()] = certificate.serial_number
                self.latest = certificate
                return
            self.refused[status] += 1
            self.without_retry_after += "Retry-After" not in headers
            await asyncio.sleep(0.1)  # sooner than it was told, so that the test is short


async def status_of(server, certificate):
    issuer = x509.load_pem_x509_certificate((server.directory / "ca/hsm.pem").read_bytes())
    question = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, SHA256()).build()
    body, fields = question.public_bytes(Encoding.DER), {"Content-Type": "application/ocsp-request"}
    async with aiohttp.ClientSession() as client:
        url = f"http://{server.public}/ocsp"
        async with client.post(url, data=body, headers=fields) as got:
            return ocsp.load_der_ocsp_response(await got.read()).certificate_status


async def reaches(check):
    end = time.monotonic() + WITHIN
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def in_the_ledger(server, profile):
    """Return the serial numbers of a profile's certificates by SHA-256 of their keys."""
    ledger = server.ledger()
    found: dict[bytes, list[int]] = {}
    after = None
    while page := await ledger.certificates(profile=profile, limit=1000, after=after):
        for record in page:
            found.setdefault(record.spki_sha256, []).append(record.serial_number)
        after = (page[-1].issued_at, page[-1].serial_number)
    unsettled = await ledger.unsettled()
    await ledger.close()
    return found, unsettled


def nothing_lost_and_none_twice(fleet, stored):
    assert [serials for serials in stored.values() if len(serials) > 1] == []
    for key, serial in fleet.received.items():
        assert stored[key] == [serial]


@case(176)
async def test_a_token_that_is_pulled_under_load_comes_back_by_itself(server, token):
    hsm = Fleet(server, server.credential("pulled", "hsm"), "hsm")
    soft = Fleet(server, server.credential("beside", "interop"), "interop")
    before, _ = await in_the_ledger(server, "hsm")
    stop, pid = asyncio.Event(), ready_pid(server)
    devices = [asyncio.create_task(fleet.device(stop)) for fleet in (hsm, hsm, hsm, soft)]
    try:
        await reaches(lambda: len(hsm.received) > 10 and len(signers(pid)) > 1)
        # 1 pulled, and whatever held a session of it restarted
        shutil.move(token.objects, token.folder / "pulled")
        token.objects.mkdir()
        for signer in signers(pid):
            os.kill(signer, signal.SIGKILL)
        await reaches(lambda: hsm.refused[503] > 10)
        assert await status_of(server, hsm.latest) == ocsp.OCSPCertStatus.GOOD
        # 2 the other CA does not notice
        count = len(soft.received)
        await reaches(lambda: len(soft.received) > count + 10)
        # 3 back: no restart
        token.objects.rmdir()
        shutil.move(token.folder / "pulled", token.objects)
        count = len(hsm.received)
        await reaches(lambda: len(hsm.received) > count + 10)
    finally:
        stop.set()
        await asyncio.gather(*devices)
    assert ready_pid(server) == pid
    assert set(hsm.refused) == {503}
    assert hsm.without_retry_after == 0
    assert not soft.refused
    assert hsm.slowest < 5, "no request waits for a token that is away"
    stored, unsettled = await in_the_ledger(server, "hsm")
    assert unsettled == []
    stored = {key: serials for key, serials in stored.items() if key not in before}
    nothing_lost_and_none_twice(hsm, stored)
    assert len(stored) - len(hsm.received) <= 3, "only a last question each"
    assert "Traceback" not in (server.directory / "serve.log").read_text()


async def test_kills_of_server_and_signer_lose_nothing_and_issue_nothing_twice(token, tmp_path):
    server = initialise(tmp_path / "server", "--interop", "--ca-token",
                        token.uri(object=None, token=new_token(token.folder, "kills").label),
                        "--ca-token-pin", f"file:{token.pin}")  # fmt: skip
    fleet = Fleet(server, server.credential("u", "interop"), "interop")
    stop = asyncio.Event()
    devices = [asyncio.create_task(fleet.device(stop)) for _ in range(DEVICES)]
    killed: Counter[str] = Counter()
    process = None
    try:
        with (tmp_path / "log").open("wb") as log:
            for turn in range(KILLS):
                if process is None:
                    process = await asyncio.create_subprocess_exec(
                        sys.executable, "-m", "est_server.cli", "serve", "-c", str(server.config),
                        stdout=log, stderr=log,
                    )  # fmt: skip
                count = len(fleet.received)
                await reaches(lambda count=count: len(fleet.received) >= count + 3)
                await asyncio.sleep(random.random() / 20)
                if turn % 2:
                    process.kill()
                    await process.wait()
                    process = None
                    killed["server"] += 1
                else:
                    for signer in signers(process.pid):
                        os.kill(signer, signal.SIGKILL)
                        killed["signer"] += 1
    finally:
        stop.set()
        await asyncio.gather(*devices)
        if process is not None:
            process.send_signal(signal.SIGTERM)
            await process.wait()
    stored, unsettled = await in_the_ledger(server, "interop")
    print(
        f"{dict(killed)} killed, {len(fleet.received)} certificates received,"
        f" {len(stored) - len(fleet.received)} recorded and never received"
    )
    assert killed["signer"] >= KILLS // 2
    assert unsettled == []
    assert set(fleet.refused) <= {503}
    nothing_lost_and_none_twice(fleet, stored)
    assert len(stored) - len(fleet.received) <= DEVICES * (killed["server"] + 1)
    assert b"Traceback" not in (tmp_path / "log").read_bytes()


def test_from_an_empty_token_to_a_server_under_somebody_elses_root(token, tmp_path, run):
    there = new_token(token.folder, "offline")
    server = initialise(tmp_path / "server", "--interop", "--root", "offline", "--ca-token",
                        there.uri(object=None), "--ca-token-pin", f"file:{there.pin}")  # fmt: skip
    ca, root, key = (tmp_path / name for name in ("ca.pem", "root.pem", "root.key"))
    openssl("req", "-x509", "-newkey", "rsa:3072", "-nodes", "-keyout", key, "-out", root,
            "-subj", "/CN=Somebody's root", "-days", "3650",
            "-addext", "keyUsage=critical,keyCertSign,cRLSign")  # fmt: skip
    request = server.directory / "ca/issuing.csr"
    sign = ("x509", "-req", "-in", request, "-CA", root, "-CAkey", key, "-days", "1000", "-out", ca)
    install = ("ca", "install", "issuing", str(ca), str(root))
    # what is no CA's is refused
    openssl(*sign)
    with pytest.raises(pytest.fail.Exception, match=r"ca\.rights"):
        server.run(*install)
    assert openssl(*sign, "-copy_extensions", "copyall")[0] == 0
    # and so is what leads elsewhere, or is for another key
    with pytest.raises(pytest.fail.Exception, match=r"ca\.chain"):
        server.run(*install[:-1], str(ca))
    with pytest.raises(pytest.fail.Exception, match=r"ca\.key"):
        server.run(*install[:3], str(root), str(root))
    server.run(*install)
    with serving(server):
        login = server.credential("u", "interop")
        run("curl-openssl/run", server.url, server.root, *login, "ec", tmp_path / "work")
    code, said = openssl("verify", "-CAfile", root, "-untrusted", ca, tmp_path / "work/cert1.pem")
    assert code == 0, said


def test_a_server_starts_without_its_token_and_needs_no_other_start(token, tmp_path):
    there = new_token(token.folder, "late")
    server = initialise(tmp_path / "server", "--interop", "--ca-token",
                        there.uri(object=None), "--ca-token-pin", f"file:{there.pin}")  # fmt: skip
    login = server.credential("u", "interop")
    away = tmp_path / "away"
    with start(server, tmp_path / "log"):
        assert ask(server, login) == 200
    shutil.move(there.objects, away)
    there.objects.mkdir()
    with start(server, tmp_path / "log"):
        assert ask(server, login) == 503
        there.objects.rmdir()
        shutil.move(away, there.objects)
        end = time.monotonic() + WITHIN
        while ask(server, login) != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


@contextmanager
def start(server, log):
    """Serve until the block ends, ready or not; it is asked once it answers."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "est_server.cli", "serve", "-c", server.config],
            stdout=output, stderr=output,
        )  # fmt: skip
        try:
            end = time.monotonic() + WITHIN
            while ask(server, None) is None:
                assert time.monotonic() < end
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait(WITHIN)


def ask(server, login):
    """Enroll and return the status; None from nobody."""

    async def enroll():
        async with session(server, login) as client:
            status, _, _ = await post(client, server, csr(secrets.token_hex(8)))
            return status

    try:
        return asyncio.run(enroll())
    except (aiohttp.ClientError, OSError):
        return None


def test_doctor_names_what_is_broken_and_how_to_mend_it(token, tmp_path):
    there = new_token(token.folder, "broken")
    server = initialise(tmp_path / "server", "--ca-token", there.uri(object=None),
                        "--ca-token-pin", f"file:{there.pin}")  # fmt: skip
    text = server.config.read_text()
    pin = tmp_path / "wrong"
    pin.touch(mode=0o600)
    pin.write_text("00000000")
    for old, new, said in (
        ("libsofthsm2.so", "libnothing.so", "install the token's PKCS #11 library"),
        ("token=broken", "token=nobody", "plug it in, start its service"),
        ("object=issuing", "object=nothing", "has no private key object=nothing"),
        (str(there.pin), str(pin), "refused the PIN; correct what `pin` names"),
    ):
        assert old in text
        server.config.write_text(text.replace(old, new))
        done = subprocess.run(
            [sys.executable, "-m", "est_server.cli", "doctor", "-c", server.config, "-o", "json"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 1, done.stderr
        assert said in done.stdout
    server.config.write_text(text)
    assert '"fail"' not in est_server("doctor", "-c", str(server.config), "-o", "json")
    assert PIN not in text

"""The server as a process, over real TLS: statuses, idempotency, reload, ML-DSA."""

from __future__ import annotations

import asyncio
import base64
import secrets
import ssl
import subprocess
import sys

import aiohttp
import pytest
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from device_world import authorization, csr, issued, post, session


@pytest.fixture(scope="module")
def lab(interop_server):
    name = f"lab-{secrets.token_hex(4)}"
    return interop_server.credential(name, "interop")


async def test_statuses(interop_server, lab):
    good = csr()
    async with session(interop_server, lab) as client:

        async def status(body, path="simpleenroll", **headers):
            return (await post(client, interop_server, body, path, **headers))[0]

        assert await status(good) == 200
        assert await status(good, "simpleenroll/") == 200
        assert await status(good, "interop/simpleenroll") == 200
        assert await status(good, "nowhere/simpleenroll") == 404
        assert await status(good, "a/b/simpleenroll") == 404
        assert await status(good, "..%2fsimpleenroll") == 404
        assert await status(good, "unknown") == 404
        assert await status(b"") == 400
        assert await status(b"!!!") == 400
        assert await status(good[:-4]) == 400
        assert await status(base64.b64encode(base64.b64decode(good) + b"x")) == 400
        assert await status(b"A" * 70_000) == 413
        assert await status(good, **{"Content-Type": "text/plain"}) == 415
        assert await status(good, **{"Content-Type": "Application/PKCS10; charset=utf-8"}) == 200
        assert await status(good, **{"Content-Transfer-Encoding": "binary"}) == 200
        assert await status(b"\r\n ".join((good[:50], good[50:])) + b"\t\n") == 200
        weak = csr(key=ec.generate_private_key(ec.SECP521R1()))
        code, text, _ = await post(client, interop_server, weak)
        assert code == 400
        assert text.startswith(b"key.not-allowed: ")
        assert b"decision d_" in text
        async with client.get(f"{interop_server.url}/simpleenroll") as got:
            assert (got.status, got.headers["Allow"]) == (405, "POST")
        async with client.post(f"{interop_server.url}/cacerts") as got:
            assert (got.status, got.headers["Allow"]) == (405, "GET")
        async with client.head(f"{interop_server.url}/cacerts") as got:
            assert got.status == 200
            assert int(got.headers["Content-Length"]) > 100


async def test_a_401_has_a_challenge_and_no_body(interop_server, lab):
    for credentials in (None, (lab[0], "wrong"), ("nobody", "wrong")):
        async with session(interop_server, credentials) as client:
            status, body, headers = await post(client, interop_server, csr())
        assert (status, body) == (401, b"")
        assert headers["WWW-Authenticate"] == 'Basic realm="est-server"'


async def test_answers_fit_one_read_of_the_smallest_client(interop_server, lab):
    async with session(interop_server, lab) as client:
        _, body, headers = await post(client, interop_server, csr())
        block = sum(len(name) + len(value) + 4 for name, value in headers.items())
        assert block < 1000
        assert "Transfer-Encoding" not in headers
        assert headers["Content-Type"] == "application/pkcs7-mime; smime-type=certs-only"
        assert body.count(b"\n") == 1
        _, wrapped, _ = await post(client, interop_server, csr(), **{"User-Agent": "libest 3"})
        assert max(len(line) for line in wrapped.splitlines()) == 64


async def test_the_same_request_fifty_times_at_once_is_one_certificate(interop_server, lab):
    body = csr("fifty")
    async with session(interop_server, lab) as client:
        answers = await asyncio.gather(*(post(client, interop_server, body) for _ in range(50)))
    assert {status for status, _, _ in answers} == {200}
    assert len({issued(found).serial_number for _, found, _ in answers}) == 1


async def test_names_come_from_the_register_whatever_the_request_says(strict_server):
    made = strict_server.json("device", "add", "SN-77", "--profile", "device", "--otp")
    async with session(strict_server, (made["username"], made["password"])) as client:
        status, body, _ = await post(client, strict_server, csr("somebody-else"))
        assert status == 200
        assert issued(body).subject.rfc4514_string() == "CN=SN-77"
        status, body, _ = await post(client, strict_server, csr("another"))
        assert (status, body.split(b":")[0]) == (403, b"credential.spent")
        status, body, _ = await post(client, strict_server, csr("x", None, "evil.example"))
        assert (status, body.split(b":")[0]) == (403, b"san.not-allowed")
    strict_server.run("device", "quarantine", "SN-77")
    async with session(strict_server, (made["username"], made["password"])) as client:
        status, body, _ = await post(client, strict_server, csr("somebody-else"))
    assert (status, body.split(b":")[0]) == (403, b"device.quarantined")
    found = strict_server.json("why", "SN-77")
    assert found[0]["rule"] == "device.quarantined"
    assert {decision["verdict"] for decision in found} == {"allow", "deny"}


@case(172)
@case(173)
async def test_a_bad_profile_changes_nothing_for_a_running_server(new_server, serve, tmp_path):
    server = new_server(tmp_path / "s", "--interop")
    with serve(server):
        user = server.credential("u", "interop")
        profile = server.directory / "profiles" / "interop.yaml"
        good = profile.read_text()
        profile.write_text(good.replace("lifetime: 30d", "lifetime: soon"))
        arguments = [sys.executable, "-m", "est_server.cli", "config", "reload"]
        done = subprocess.run(
            [*arguments, "-c", server.config], capture_output=True, text=True, check=False
        )
        assert done.returncode == 3
        assert "interop.yaml:" in done.stderr
        assert "error[E104]: certificate.lifetime: not a duration" in done.stderr
        async with session(server, user) as client:
            assert (await post(client, server, csr("still")))[0] == 200
        profile.write_text(good.replace("lifetime: 30d", "lifetime: 7d"))
        assert "ok" in server.run("config", "reload")
        async with session(server, user) as client:
            _, body, _ = await post(client, server, csr("shorter"))
        certificate = issued(body)
        span = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert span.days == 7


async def test_an_ml_dsa_device_enrolls_from_an_ml_dsa_ca(new_server, serve, tmp_path):
    server = new_server(tmp_path / "s", "--key", "ML-DSA-65")
    with serve(server):
        made = server.json("device", "add", "PQ-1", "--profile", "device", "--otp")
        key = mldsa.MLDSA65PrivateKey.generate()
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trust.check_hostname = False
        trust.verify_mode = ssl.CERT_NONE  # the system's OpenSSL knows no ML-DSA
        headers = authorization((made["username"], made["password"]))
        connector = aiohttp.TCPConnector(ssl=trust)
        async with aiohttp.ClientSession(connector=connector, headers=headers) as client:
            status, body, _ = await post(client, server, csr("PQ-1", key))
        assert status == 200
        leaf = issued(body)
    issuing, root = (
        x509.load_pem_x509_certificate((server.directory / "ca" / f"{name}.pem").read_bytes())
        for name in ("issuing", "root")
    )
    assert isinstance(leaf.public_key(), mldsa.MLDSA65PublicKey)
    leaf.verify_directly_issued_by(issuing)
    issuing.verify_directly_issued_by(root)

"""Workers that share a Redis, which comes late, goes, hangs, and comes back empty."""

from __future__ import annotations

import asyncio
import ssl
import time
import urllib.request

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from device_world import csr, issued, post, session
from redis_process import RedisProcess
from workers_site import clients, on_any_port, supervised, until

WORKERS = 2


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    found = RedisProcess(tmp_path_factory.mktemp("redis"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def site(need, running, tmp_path_factory):
    """Two workers, whose Redis is not there when they start."""
    need("redis-server", "redis-server")
    server = on_any_port(tmp_path_factory.mktemp("with-redis") / "server", "--interop")
    text = server.config.read_text().replace('ephemeral: "memory:"', f'ephemeral: "{running.url}"')
    assert running.url in text
    server.config.write_text(text)
    with supervised(server, workers=WORKERS) as found:
        yield found


@pytest.fixture(scope="module")
def login(site):
    return site.server.credential("fleet", "interop")


def metric(site, name):
    trust = ssl.create_default_context(cafile=site.server.root)
    with urllib.request.urlopen(f"https://{site.server.admin}/metrics", context=trust) as got:
        lines = got.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


def away(site):
    return metric(site, "est_server_ephemeral_away") == 1


async def revoked_everywhere(site, login, name):
    """Enroll, let every worker have it in memory, revoke; return how long until none says good."""
    async with session(site.server, login) as client:
        _, body, _ = await post(client, site.server, csr(name))
    certificate = issued(body)
    issuer = x509.load_pem_x509_certificate(
        (site.server.directory / "ca" / "issuing.pem").read_bytes()
    )
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())
    request = builder.build().public_bytes(Encoding.DER)

    def status():  # a new connection each time: whichever worker takes it
        url = f"http://{site.server.public}/ocsp"
        fields = {"Content-Type": "application/ocsp-request"}
        with urllib.request.urlopen(urllib.request.Request(url, request, fields)) as got:
            return ocsp.load_der_ocsp_response(got.read()).certificate_status

    def follow():
        for _ in range(20):
            assert status() is ocsp.OCSPCertStatus.GOOD
        site.server.run("cert", "revoke", f"{certificate.serial_number:x}")
        begin = time.monotonic()
        until(
            "revoked",
            lambda: all(status() is ocsp.OCSPCertStatus.REVOKED for _ in range(10)),
        )
        took = time.monotonic() - begin
        assert all(status() is ocsp.OCSPCertStatus.REVOKED for _ in range(20)), "and stays so"
        return took

    return await asyncio.to_thread(follow)


async def test_a_server_starts_and_issues_without_redis(site, login):
    async with clients(site, login) as seen:
        pass
    assert (seen.broken, seen.refused) == ([], [])
    assert await asyncio.to_thread(until, "the metric", lambda: away(site))
    assert len(site.events("ephemeral.redis_away")) == WORKERS
    took = await revoked_everywhere(site, login, "without")
    print(f"\nwithout Redis every worker says revoked {took:.2f} s after the command")


async def test_redis_that_comes_is_used(site, login, running):
    running.start()
    await asyncio.to_thread(until, "the metric", lambda: not away(site))
    assert len(site.events("ephemeral.redis_back")) == WORKERS
    took = await revoked_everywhere(site, login, "with")
    print(f"\nwith Redis every worker says revoked {took:.2f} s after the command")


@pytest.mark.parametrize("way", ["pause", "stop"])
async def test_redis_that_goes_under_load_stops_nobody(site, login, running, way):
    async with clients(site, login) as seen:
        getattr(running, way)()
        await asyncio.to_thread(until, "the metric", lambda: away(site))
        await seen.more(20)
        await revoked_everywhere(site, login, f"gone-{way}")
        running.stop()
        running.start()  # empty
        await asyncio.to_thread(until, "the metric", lambda: not away(site))
    assert (seen.broken, seen.refused) == ([], [])
    await revoked_everywhere(site, login, f"back-{way}")

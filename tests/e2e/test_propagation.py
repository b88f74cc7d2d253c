"""From a revocation's commit to everybody who has to know of it, measured under load.

Short in the default run; `make propagation` does 200.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack, asynccontextmanager

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from device_world import csr, issued, post, session
from gateway_site import arguments, device, follow_once, following, nginx, prepare
from ocsp_site import replica

from est_server.app.clock import system_clock
from est_server.ports.revocation import Revocation
from est_server.wire.crl_reading import read_crl

COUNT = int(os.environ.get("REVOCATIONS", "5"))
DEADLINE = 60.0  # seconds; what was measured is printed


@pytest.fixture(scope="module")
def site(new_server, serve, need, tmp_path_factory):
    """Two server processes on one ledger, nginx, and a follower that reloads it."""
    need("nginx", "/usr/sbin/nginx")
    folder = tmp_path_factory.mktemp("propagation")
    first = new_server(folder / "server", "--interop")
    prepare(first)
    (folder / "second").mkdir()
    crl = folder / "clients.crl"
    with ExitStack() as stack:
        stack.enter_context(serve(first))
        second = stack.enter_context(replica(first, folder / "second", serve))
        assert follow_once(arguments(first, crl)).returncode == 0
        gateway = stack.enter_context(nginx(first, folder / "nginx", crl))
        options = arguments(first, crl, "--exec", gateway.reload)
        stack.enter_context(following(options, folder / "follow.log"))
        yield first, second, gateway.address


class Everybody:
    """Who has to know, each asked on its own until it says so."""

    def __init__(self, servers, gateway, client):
        self.servers, self.gateway, self.client = servers, gateway, client
        pem = (servers[0].directory / "ca/issuing.pem").read_bytes()
        self.issuer = x509.load_pem_x509_certificate(pem)
        self.took = {}

    async def measure(self, name, key, certificate):
        """Note how long each takes from now on."""
        begin, shown = time.monotonic(), device(self.servers[0], certificate, key)

        async def timed(who, told):
            async with asyncio.timeout(DEADLINE):
                while True:
                    if await told():
                        break
                    await asyncio.sleep(0.01)
            self.took.setdefault(who, []).append(time.monotonic() - begin)

        async def refused():
            connector = aiohttp.TCPConnector(ssl=shown.context, force_close=True)
            async with aiohttp.ClientSession(connector=connector) as client:
                status, body, _ = await post(client, self.servers[0], csr(name), "simplereenroll")
            assert (status, body.split(b":")[0]) == (403, b"certificate.revoked"), "at once"
            return True

        async def kept_out():
            connector = aiohttp.TCPConnector(ssl=shown.context, force_close=True)
            async with aiohttp.ClientSession(connector=connector) as client:
                try:
                    async with client.get(f"https://{self.gateway}/") as got:
                        return got.status != 200
                except aiohttp.ClientError:
                    return True

        await asyncio.gather(
            timed("enrollment refused", refused),
            timed("delta CRL", lambda: self._listed(certificate.serial_number)),
            *(
                timed(f"OCSP, process {number}", lambda at=server: self._revoked(at, certificate))
                for number, server in enumerate(self.servers, 1)
            ),
            timed("nginx refuses", kept_out),
        )

    async def believe_it_good(self, certificate):
        """Let every process have the answer in memory that is wrong a moment later."""
        for server in self.servers:
            for _ in range(3):
                assert not await self._revoked(server, certificate)

    async def _revoked(self, server, certificate):
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, self.issuer, hashes.SHA1())
        request = builder.build().public_bytes(Encoding.DER)
        async with self.client.post(f"http://{server.public}/ocsp", data=request) as got:
            told = ocsp.load_der_ocsp_response(await got.read())
        return told.certificate_status is ocsp.OCSPCertStatus.REVOKED

    async def _listed(self, serial):
        async with self.client.get(f"http://{self.servers[0].public}/crl/issuing-delta.crl") as got:
            found = read_crl(await got.read())
        return any(entry.serial_number == serial for entry in found.entries())


@asynccontextmanager
async def load(server, login):
    """Let two devices enroll one after the other until the block ends; yields their count."""
    done, end = [], asyncio.Event()

    async def one(number):
        async with session(server, login) as client:
            while not end.is_set():
                status, _, _ = await post(client, server, csr(f"load-{number}-{len(done)}"))
                assert status == 200
                done.append(number)

    tasks = [asyncio.create_task(one(number)) for number in range(2)]
    try:
        yield done
    finally:
        end.set()
        await asyncio.gather(*tasks)


async def test_revocations_under_load_reach_everybody(site):
    first, second, gateway = site
    login = first.credential("fleet", "interop")
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(COUNT)]
    async with session(first, login) as client:
        answers = [await post(client, first, csr(f"p-{n}", key)) for n, key in enumerate(keys)]
    made = [issued(body) for _, body, _ in answers]
    ledger = first.ledger()
    async with aiohttp.ClientSession() as client:
        everybody = Everybody((first, second), gateway, client)
        begin = time.monotonic()
        async with load(first, login) as enrolled:
            for number, (key, certificate) in enumerate(zip(keys, made, strict=True)):
                await everybody.believe_it_good(certificate)
                order = Revocation(
                    "issuing", certificate.serial_number, "keyCompromise", system_clock(), "test"
                )
                await ledger.revocations.revoke([order])
                await everybody.measure(f"p-{number}", key, certificate)
        seconds = time.monotonic() - begin
    await ledger.close()
    print(f"\n{COUNT} revocations, {len(enrolled) / seconds:.0f} enrollments a second beside them")
    for who, took in everybody.took.items():
        took.sort()
        p50, p99 = took[len(took) // 2], took[min(len(took) - 1, int(len(took) * 0.99))]
        print(f"{who:20} p50 {p50:.2f} s  p99 {p99:.2f} s  most {took[-1]:.2f} s")

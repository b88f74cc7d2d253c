"""Replicas of one server: a PostgreSQL and a Redis of their own, clients of every kind."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from device_world import PKCS10, csr, issued, session
from est_process import REPOSITORY, free_addresses
from history import Asked, Enrolled, History, Listed, Refused
from postgres_server import Cluster
from redis_process import RedisProcess

from est_server.app.clock import system_clock
from est_server.errors import EstServerError
from est_server.ports.revocation import Revocation
from est_server.storage import open_ledger
from est_server.wire.crl_reading import read_crl

REPLICAS = 3
LISTS = ("issuing.crl", "issuing-delta.crl")
_NO_ANSWER = (aiohttp.ClientError, OSError, TimeoutError)


@dataclass
class Site:
    """Replicas, what they stand on, and what their clients saw."""

    cluster: Cluster
    database: str
    redis: RedisProcess
    servers: list
    user: tuple[str, str]
    history: History = field(default_factory=History)
    processes: dict[int, subprocess.Popen] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    _held: list[x509.Certificate] = field(default_factory=list)
    _open: list[bytes] = field(default_factory=list)

    @classmethod
    def make(cls, folder, new_server):
        cluster = Cluster.start()
        database = cluster.database()
        redis = RedisProcess(folder)
        redis.start()
        first = new_server(folder / "replica-0", "--interop")
        text = first.config.read_text()
        text = text.replace("sqlite:///state/ledger.db", cluster.url(database))
        text = text.replace('"memory:"', f'"{redis.url}"')
        text += "limits: {attempts_per_user: 999999/1s, attempts_per_address: 999999/1s}\n"
        first.config.write_text(text)
        (first.directory / "state" / "ledger.db").unlink()
        first.run("db", "upgrade")
        servers = [first]
        for number in range(1, REPLICAS):
            est, public, admin = free_addresses(3)
            made = replace(
                first, directory=folder / f"replica-{number}", est=est, public=public, admin=admin
            )
            shutil.copytree(first.directory, made.directory)
            own = text
            for before, after in ((first.est, est), (first.admin, admin)):
                own = own.replace(before, after)
            own = own.replace(f'listen: "{first.public}"', f'listen: "{public}"')
            made.config.write_text(own)
            servers.append(made)
        return cls(cluster, database, redis, servers, first.credential("fleet", "interop"))

    def start(self, number, *before):
        """Start a replica; `before` are words before its command."""
        server = self.servers[number]
        command = [*before, sys.executable, "-m", "est_server.cli", "serve", "-c", server.config]
        with (server.directory / "serve.log").open("ab") as log:
            self.processes[number] = subprocess.Popen(
                command, cwd=REPOSITORY, stdout=log, stderr=log, start_new_session=True
            )

    def kill(self, number, how=signal.SIGKILL):
        process = self.processes.pop(number)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        return process.wait(60)

    def close(self):
        for number in list(self.processes):
            self.kill(number)
        self.redis.stop()
        self.cluster.remove()

    async def ready(self, numbers=range(REPLICAS), within=90.0):
        """Wait until replicas say that they are ready."""
        end = time.monotonic() + within
        async with session(self.servers[0]) as client:
            for number in numbers:
                while True:
                    with suppress(*_NO_ANSWER):
                        url = f"https://{self.servers[number].admin}/readyz"
                        async with client.get(url) as answer:
                            if answer.status == 200:
                                break
                    assert time.monotonic() < end, f"replica {number} is not ready"
                    await asyncio.sleep(0.1)

    # -- clients ------------------------------------------------------------------------------

    async def device(self, pause):
        """Enroll again and again, at any replica; the same question until it is answered."""
        async with session(self.servers[0], self.user) as client:
            while not self.stop.is_set():
                await self._enroll(client, csr(secrets.token_hex(6)))
                await asyncio.sleep(pause)

    async def _enroll(self, client, body):
        while not self.stop.is_set():
            number = secrets.randbelow(REPLICAS)
            url = f"{self.servers[number].url}/simpleenroll"
            began = time.monotonic()
            try:
                timeout = aiohttp.ClientTimeout(20)
                async with client.post(url, data=body, headers=PKCS10, timeout=timeout) as got:
                    status, answer, fields = got.status, await got.read(), got.headers
            except _NO_ANSWER:
                await asyncio.sleep(0.1)
                continue
            if status == 200:
                certificate = issued(answer)
                key = certificate.public_key().public_bytes(
                    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
                )
                serial = certificate.serial_number
                self.history.enrolled.append(Enrolled(sha256(key).digest(), serial))
                self._held.append(certificate)
                return
            refused = Refused(began, number, status, fields.get("Retry-After"))
            self.history.refused.append(refused)
            await asyncio.sleep(0.2)

    async def responder(self):
        """Revoke one of the newest certificates now and then, and note when that is durable."""
        ledger = open_ledger(self.cluster.place(self.database))
        try:
            while not self.stop.is_set():
                await asyncio.sleep(0.7)
                if not self._held:
                    continue
                certificate = self._held.pop(0)
                self._watch(certificate)
                await asyncio.sleep(0.3)  # so that every replica has it in memory
                serial = certificate.serial_number
                order = Revocation("issuing", serial, "superseded", system_clock(), "test")
                with suppress(EstServerError):  # what became of it nobody knows
                    await ledger.revocations.revoke([order])
                    self.history.revoked[serial] = time.monotonic()
        finally:
            await ledger.close()

    def _watch(self, certificate):
        path = self.servers[0].directory / "ca" / "issuing.pem"
        issuer = x509.load_pem_x509_certificate(path.read_bytes())
        builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())
        request = builder.build().public_bytes(Encoding.DER)
        self._open = [*self._open[-5:], (certificate.serial_number, request)]

    async def relying_party(self, number):
        """Ask one replica about the certificates that are revoked now, and fetch its lists."""
        server, turn = self.servers[number], 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(5)) as client:
            while not self.stop.is_set():
                turn += 1
                for serial, request in tuple(self._open):
                    with suppress(*_NO_ANSWER, ValueError):
                        await self._ask(client, server, number, serial, request)
                if turn % 5 == 0:
                    for name in LISTS:
                        with suppress(*_NO_ANSWER):
                            await self._fetch(client, server, number, name)
                await asyncio.sleep(0.05)

    async def _ask(self, client, server, number, serial, request):
        began = time.monotonic()
        fields = {"Content-Type": "application/ocsp-request"}
        async with client.post(f"http://{server.public}/ocsp", data=request, headers=fields) as got:
            answer = ocsp.load_der_ocsp_response(await got.read())
        status = answer.response_status.name
        if answer.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL:
            status = answer.certificate_status.name
        self.history.asked.append(Asked(began, number, serial, status))

    async def _fetch(self, client, server, number, name):
        async with client.get(f"http://{server.public}/crl/{name}") as got:
            if got.status == 200:
                der = await got.read()
                found = Listed(number, name, read_crl(der).number, sha256(der).digest())
                self.history.listed.append(found)

    async def stored(self):
        """Return the ledger's certificates by SHA-256 of their keys."""
        ledger = open_ledger(self.cluster.place(self.database))
        found, after = {}, None
        try:
            while page := await ledger.certificates(profile="interop", limit=500, after=after):
                for record in page:
                    found.setdefault(record.spki_sha256, []).append(record.serial_number)
                after = (page[-1].issued_at, page[-1].serial_number)
            assert await ledger.unsettled() == []
        finally:
            await ledger.close()
        return found

"""A server with certificates in every status, and what tests ask it with."""

from __future__ import annotations

import asyncio
import base64
import http.client
import json
import shutil
import ssl
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs7
from cryptography.x509 import ocsp
from cryptography.x509.oid import NameOID
from est_process import REPOSITORY, EstServer, free_addresses

from est_server.app.clock import system_clock

BRIEF = """\
version: 1
description: certificates that are over at once
labels: [brief]
ca: issuing
authenticate: [{credential: {}}]
registration: none
subject: {as_requested: true}
subject_alternative_names: {as_requested: true}
key: {allow: [EC-P256]}
certificate: {lifetime: 62s, backdate: 60s, pointers: [ocsp]}
"""
# another process, whatever commands there are: it returns once the event is durable
CHANGE = """\
import asyncio, sys
from pathlib import Path
from est_server.app.clock import system_clock
from est_server.ports.revocation import Release, Revocation
from est_server.config.configuration import load
from est_server.storage import ledger_place, open_ledger

async def main(path, what, *serials):
    configuration = load(Path(path))
    ledger = open_ledger(ledger_place(configuration.server.state, configuration.base))
    now, store = system_clock(), ledger.revocations
    numbers = [int(serial, 16) for serial in serials]
    if what == "release":
        await store.release([Release("issuing", number, now, "test") for number in numbers])
    else:
        await store.revoke([Revocation("issuing", number, what, now, "test") for number in numbers])
    print("durable", flush=True)
    await ledger.close()

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Site:
    """A running server.

    Attributes:
        leaves: PEM files by the status of their certificates.
    """

    server: EstServer
    leaves: dict[str, Path] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://{self.server.public}/ocsp"

    @property
    def issuer(self) -> Path:
        return self.server.directory / "ca" / "issuing.pem"

    @property
    def pid(self) -> int:
        lines = (self.server.directory / "serve.log").read_text().splitlines()
        [ready] = [json.loads(line) for line in lines if '"server.ready"' in line]
        return int(ready["pid"])

    def certificate(self, name: str) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.leaves[name].read_bytes())

    def enroll(self, name: str, login: tuple[str, str], label: str = "interop") -> Path:
        """Enroll and return the PEM file of the certificate."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject)
        der = csr.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
        basic = base64.b64encode(":".join(login).encode()).decode()
        fields = {"Authorization": f"Basic {basic}", "Content-Type": "application/pkcs10"}
        url = f"{self.server.url}/{label}/simpleenroll"
        trust = ssl.create_default_context(cafile=self.server.root)
        with urlopen(Request(url, base64.b64encode(der), fields), context=trust, timeout=60) as got:
            [made] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(got.read()))
        path = self.server.directory / f"{name}.pem"
        path.write_bytes(made.public_bytes(Encoding.PEM))
        self.leaves[name] = path
        return path

    def forge(self, name: str) -> Path:
        """Sign a certificate with the CA's key behind the ledger's back."""
        base = self.server.directory
        passphrase = (base / "secrets/ca.pass").read_bytes().strip()
        key: Any = load_pem_private_key((base / "ca/issuing.key").read_bytes(), passphrase)
        issuer = x509.load_pem_x509_certificate(self.issuer.read_bytes())
        now = system_clock()
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(issuer.subject)
            .public_key(ec.generate_private_key(ec.SECP256R1()).public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now.replace(microsecond=0))
            .not_valid_after(now.replace(year=now.year + 1, microsecond=0))
            .sign(key, hashes.SHA256())
        )
        path = base / f"{name}.pem"
        path.write_bytes(made.public_bytes(Encoding.PEM))
        self.leaves[name] = path
        return path

    def change(self, what: str, *names: str) -> float:
        """Revoke, hold or release in another process; return when that was durable (monotonic)."""
        serials = [f"{self.certificate(name).serial_number:x}" for name in names]
        ledger = self.server.config
        command = [sys.executable, "-c", CHANGE, str(ledger), what, *serials]
        with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as done:
            assert done.stdout is not None
            assert done.stdout.readline() == "durable\n"
            at = time.monotonic()
            assert done.wait(60) == 0
        return at

    def request(self, *names: str, algorithm: Any = None) -> bytes:
        issuer = x509.load_pem_x509_certificate(self.issuer.read_bytes())
        (name,) = names
        builder = ocsp.OCSPRequestBuilder().add_certificate(
            self.certificate(name), issuer, algorithm or hashes.SHA1()
        )
        return builder.build().public_bytes(Encoding.DER)

    def exchange(self, method: str, path: str, body: bytes | None = None, **fields: str):
        """Return (status, header fields, body) of one HTTP exchange."""
        connection = http.client.HTTPConnection(self.server.public, timeout=20)
        try:
            connection.request(
                method, path, body, {k.replace("_", "-"): v for k, v in fields.items()}
            )
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def status(self, name: str) -> str:
        _, _, body = self.exchange("POST", "/ocsp", self.request(name))
        return ocsp.load_der_ocsp_response(body).certificate_status.name.lower()

    def fill(self) -> None:
        """Enroll one certificate for each status that there is."""
        login = self.server.credential("fleet", "interop")
        for name in ("good", "revoked", "held", "released", "moved"):
            self.enroll(name, login)
        self.enroll("expired", self.server.credential("brief", "brief"), "brief")
        self.forge("unknown")
        self.change("keyCompromise", "revoked")
        self.change("certificateHold", "held", "released")
        self.change("release", "released")
        end = self.certificate("expired").not_valid_after_utc
        while system_clock() <= end:
            time.sleep(0.1)


def prepare(server: EstServer) -> None:
    """Let certificates point to the responder, and some be over at once."""
    profiles = server.directory / "profiles"
    interop = profiles / "interop.yaml"
    text = interop.read_text()
    assert "\ncertificate:\n" in text
    interop.write_text(text.replace("\ncertificate:\n", "\ncertificate:\n  pointers: [ocsp]\n", 1))
    (profiles / "brief.yaml").write_text(BRIEF)


@contextmanager
def replica(server: EstServer, directory: Path, serve: Any):
    """Serve the same ledger and CA by a second process on other addresses."""
    est, public, admin = free_addresses(3)
    for name in ("ca", "keys", "tls", "secrets", "profiles", "trust"):
        shutil.copytree(server.directory / name, directory / name)
    text = server.config.read_text()
    for old, new in ((server.est, est), (server.public, public), (server.admin, admin)):
        text = text.replace(f'listen: "{old}"', f'listen: "{new}"')
    text = text.replace("sqlite:///state/", f"sqlite:///{server.directory}/state/")
    (directory / "server.yaml").write_text(text)
    with serve(EstServer(directory, est, public, admin)) as second:
        yield second


@dataclass
class Answer:
    """What a poll was told, and when it was asked and answered (monotonic)."""

    asked: float
    answered: float
    status: str


class Poll:
    """A connection that stays open and asks the same thing again and again."""

    def __init__(self, address: str, request: bytes) -> None:
        self.address, self.request = address, request
        self.answers: list[Answer] = []

    async def open(self) -> None:
        host, port = self.address.rsplit(":", 1)
        self.reader, self.writer = await asyncio.open_connection(host, int(port))

    def send(self) -> float:
        self.writer.write(self.request)
        return time.monotonic()

    async def receive(self, asked: float) -> Answer:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        body = await self.reader.readexactly(length)
        status = ocsp.load_der_ocsp_response(body).certificate_status.name.lower()
        self.answers.append(Answer(asked, time.monotonic(), status))
        return self.answers[-1]

    async def until(self, end: asyncio.Event) -> None:
        while not end.is_set():
            await self.receive(self.send())
            await asyncio.sleep(0.002)

    def close(self) -> None:
        self.writer.close()

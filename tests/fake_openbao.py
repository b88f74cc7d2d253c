"""The part of OpenBao's HTTP API that the backend uses, over a CA in a folder.

It keeps what the documentation says of sign/:role, revoke, issuer/:ref/json, the AppRole and
Kubernetes logins, sealed and standby servers, and has no idempotency key.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from est_server.pki.plan import CertificatePlan
from est_server.testing.issuer import FakeIssuer

if TYPE_CHECKING:
    from pathlib import Path

CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
WRONG = {"wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"}
ONCE = {*WRONG, "throttle", "refused", "lost-reply", "timeout-after-accept", "broken"}
"""Faults of one order; the others last."""


def pem(certificate):
    return certificate.public_bytes(Encoding.PEM).decode()


@dataclass
class FakeOpenBao:
    """One server.

    Attributes:
        folder: its key, and a file for each certificate that it made or revoked.
        fault: what goes wrong: see `ONCE`; else sealed, standby, redirect, proxy.
        logins: tokens given, newest last; only that one is good.
        asked: bodies of sign requests.
        taken: orders that are to be carried out later.
    """

    folder: Path
    fault: str = ""
    namespace: str | None = None
    logins: list[str] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.issuer = FakeIssuer.in_folder(self.folder)

    def certificates(self, kind: str = "made") -> list[x509.Certificate]:
        """Return what was ``made`` or ``revoked``."""
        return [
            x509.load_pem_x509_certificate(path.read_bytes())
            for path in sorted(self.folder.glob(f"*.{kind}"))
        ]

    def keep(self, certificate: x509.Certificate, kind: str) -> None:
        path = self.folder / f"{certificate.serial_number:x}"
        path.with_suffix(".tmp").write_text(pem(certificate))
        path.with_suffix(".tmp").replace(path.with_suffix(f".{kind}"))

    def heal(self) -> None:
        self.fault = ""
        for body in self.taken:
            self.keep(self._made(body, ""), "made")
        self.taken.clear()

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/v1/auth/approle/login", self._approle)
        app.router.add_post("/v1/auth/kubernetes/login", self._kubernetes)
        app.router.add_get("/v1/auth/token/lookup-self", self._self)
        app.router.add_get("/v1/pki/issuer/default/json", self._issuer)
        app.router.add_post("/v1/pki/sign/devices", self._sign)
        app.router.add_post("/v1/pki/revoke", self._revoke)
        return app

    @web.middleware
    async def _guard(self, request, handler):
        match self.fault:
            case "sealed":
                return error(503, "Vault is sealed")
            case "standby":
                return error(503, "local node not active but active cluster node not found")
            case "redirect":
                return web.Response(status=307, headers={"Location": "https://active:8200/"})
            case "proxy":
                return web.Response(status=503, text="upstream connect error")
        if self.namespace != request.headers.get("X-Vault-Namespace"):
            return error(403, "permission denied")
        public = request.path.startswith("/v1/auth/approle") or request.path.endswith(
            ("/json", "kubernetes/login")
        )
        token = request.headers.get("X-Vault-Token")
        if not public and (not self.logins or token != self.logins[-1]):
            return error(403, "permission denied")
        return await handler(request)

    async def _approle(self, request):
        body = await request.json()
        if body != {"role_id": "est", "secret_id": "s3cret"}:
            return error(400, "invalid role or secret ID")
        return self._token()

    async def _kubernetes(self, request):
        body = await request.json()
        return self._token() if body == {"role": "est", "jwt": "pod"} else error(403, "denied")

    def _token(self):
        self.logins.append(f"hvs.{len(self.logins)}")
        return web.json_response({"auth": {"client_token": self.logins[-1]}})

    async def _self(self, request):
        return web.json_response({"data": {"id": self.logins[-1]}})

    async def _issuer(self, request):
        chain = [pem(self.issuer.issuing.certificate), pem(self.issuer.root.certificate)]
        return web.json_response({"data": {"certificate": chain[0], "ca_chain": chain}})

    async def _sign(self, request):
        body = await request.json()
        self.asked.append(body)
        fault, self.fault = self.fault, "" if self.fault in ONCE else self.fault
        if fault == "throttle":
            return error(429, "request path limit exceeded", {"Retry-After": "7"})
        if fault == "refused" or body["common_name"].startswith("denied"):
            return error(400, f"common name {body['common_name']} not allowed by this role")
        if fault == "timeout-after-accept":
            self.taken.append(body)
            request.transport.abort()
            return error(500, "")
        certificate = self._made(body, fault)
        self.keep(certificate, "made")
        if fault == "lost-reply":
            request.transport.abort()
        if fault == "broken":
            return web.json_response({"data": {"certificate": "none"}})
        return web.json_response({"data": {"certificate": pem(certificate)}})

    def _made(self, body, fault):
        """Return a certificate of what the request says; the role adds the usages."""
        csr = x509.load_pem_x509_csr(body["csr"].encode())
        subject = [(NameOID.COMMON_NAME, "common_name"), (NameOID.SERIAL_NUMBER, "serial_number")]
        names: list[x509.GeneralName] = [
            x509.RFC822Name(one) if "@" in one else x509.DNSName(one)
            for one in body["alt_names"].split(",")
            if one
        ]
        names += [x509.IPAddress(ip_address(one)) for one in body["ip_sans"]]
        names += [x509.UniformResourceIdentifier(one) for one in body["uri_sans"]]
        now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a server's own clock
        plan = CertificatePlan(
            ca="pki",
            subject=x509.Name(
                [x509.NameAttribute(oid, body[key]) for oid, key in subject if body[key]]
            ),
            subject_alternative_names=tuple(names),
            spki=csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_algorithm="",
            not_before=now - timedelta(seconds=30),
            not_after=datetime.fromisoformat(body["not_after"]),
            key_usage=("digitalSignature",),
            extended_key_usage=(CLIENT_AUTH,),
        )
        return self.issuer.certify(plan, fault=fault if fault in WRONG else None)

    async def _revoke(self, request):
        body = await request.json()
        certificate = x509.load_pem_x509_certificate(body["certificate"].encode())
        if certificate not in self.certificates():
            return error(400, "certificate not issued by any issuer of this mount")
        self.keep(certificate, "revoked")
        return web.json_response({"data": {"revocation_time": 1, "state": "revoked"}})


def error(status, text, headers=None):
    return web.Response(
        status=status,
        body=json.dumps({"errors": [text]}).encode(),
        content_type="application/json",
        headers=headers,
    )


@asynccontextmanager
async def running(fake: FakeOpenBao):
    """Serve on loopback; yields the URL."""
    server = TestServer(fake.application())
    await server.start_server()
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()

"""An ACME server that fails as it is told to, over TLS; requests are checked as RFC 8555 6 says."""

from __future__ import annotations

import json
import ssl
from base64 import urlsafe_b64decode
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from secrets import token_urlsafe
from typing import Any

from acme.jws import JWS
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from josepy.jwk import JWK, JWKOct

from est_server.pki.authority import make_server_certificate, plain_key
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.pki.usages import EXTENDED_KEY_USAGES
from est_server.testing.issuer import FakeIssuer

WRONG = {"wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"}
LASTING = {"pending", "unavailable", ""}
PROBLEM = "urn:ietf:params:acme:error:"
MAC_KEY = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
STATUS = {"rateLimited": 429, "serverInternal": 500, "unauthorized": 403, "orderNotReady": 403}


class Said(Exception):
    """A problem document."""

    def __init__(self, kind: str, detail: str = "", **more: Any) -> None:
        super().__init__(kind)
        self.body = {"type": PROBLEM + kind, "detail": detail, **more}
        self.status = STATUS.get(kind, 400)


@dataclass
class FakeAcme:
    """One server.

    Attributes:
        folder: its key, and a file for each certificate that it made or revoked.
        fault: what goes wrong with the next order when its CSR is handed over; see the worlds.
        says: the next problem of a resource: ``newOrder``, ``finalize``, ``revokeCert``, ``order``.
        after: the same for another resource, once this one has been asked for.
        unauthorized: names that wait for challenges.
        reuses: whether a new order for the names of one that is ready is that one.
        stale: how many nonces are refused.
        lags: whether a new order is shown as pending, although its names are authorized.
        nameless: whether the subjects of its certificates are empty.
        chain: what comes with a certificate.
        asked: payloads by resource.
    """

    folder: Path
    fault: str = ""
    says: dict[str, Said] = field(default_factory=dict)
    after: dict[str, tuple[str, Said]] = field(default_factory=dict)
    unauthorized: set[str] = field(default_factory=set)
    reuses: bool = False
    stale: int = 0
    nameless: bool = False
    lags: bool = False
    external: bool = False
    terms: str | None = None
    account_status: str = "valid"
    chain: list[x509.Certificate] = field(default_factory=list)
    accounts: dict[str, JWK] = field(default_factory=dict)
    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, Any]] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    url: str = ""

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
        path.with_suffix(".tmp").write_bytes(certificate.public_bytes(Encoding.PEM))
        path.with_suffix(".tmp").replace(path.with_suffix(f".{kind}"))

    def heal(self) -> None:
        self.fault = ""
        for order in self.orders.values():
            if order["status"] == "processing":
                self.finish(order, "")

    def finish(self, order: dict[str, Any], fault: str) -> None:
        made = self.make(order, fault)
        self.keep(made, "made")
        order |= {"status": "valid", "made": made, "certificate": f"{order['url']}/certificate"}

    def make(self, order: dict[str, Any], fault: str) -> x509.Certificate:
        csr = x509.load_der_x509_csr(order["csr"])
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        now = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - a server's own clock
        begin, end = order.get("notBefore"), order.get("notAfter")
        first = [x509.NameAttribute(NameOID.COMMON_NAME, order["identifiers"][0]["value"])]
        plan = CertificatePlan(
            ca="acme",
            subject=x509.Name([] if self.nameless else first),
            subject_alternative_names=tuple(names),
            spki=csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_algorithm="",
            not_before=datetime.fromisoformat(begin) if begin else now,
            not_after=datetime.fromisoformat(end) if end else now + timedelta(days=30),
            key_usage=("digitalSignature", "keyEncipherment"),
            extended_key_usage=tuple(EXTENDED_KEY_USAGES[n] for n in ("serverAuth", "clientAuth")),
        )
        return self.issuer.certify(plan, fault=fault if fault in WRONG else None)

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/dir", self._directory)
        app.router.add_route("HEAD", "/nonce", self._empty)
        for path, handler in {
            "/account": self._account,
            "/account/{id}": self._own_account,
            "/order": self._new_order,
            "/order/{id}": self._order,
            "/order/{id}/finalize": self._finalize,
            "/order/{id}/certificate": self._certificate,
            "/authz/{name}": self._authorization,
            "/revoke": self._revoke,
        }.items():
            app.router.add_post(path, handler)
        return app

    @web.middleware
    async def _guard(self, request, handler):
        if self.fault == "unavailable":
            return web.Response(status=503, headers={"Retry-After": "9"})
        self.nonces.add(nonce := token_urlsafe(9))
        try:
            answer = await handler(request)
        except Said as said:
            more = {"Retry-After": "7"} if said.status == 429 else {}
            answer = web.json_response(said.body, status=said.status, headers=more)
        answer.headers["Replay-Nonce"] = nonce
        return answer

    async def _directory(self, request):
        where = {"newNonce": "nonce", "newAccount": "account", "newOrder": "order",
                 "revokeCert": "revoke"}  # fmt: skip
        meta = {"externalAccountRequired": self.external}
        if self.terms:
            meta["termsOfService"] = self.terms
        return web.json_response(
            {name: f"{self.url}/{path}" for name, path in where.items()} | {"meta": meta}
        )

    async def _empty(self, request):
        return web.Response()

    async def _payload(self, request, resource):
        """Return the payload of a signed request, checked, and who signed it."""
        signed = JWS.from_json(await request.json())
        header = signed.signature.combined
        nonce = json.loads(signed.signature.protected)["nonce"]
        if nonce not in self.nonces or self.stale:
            self.stale = max(self.stale - 1, 0)
            raise Said("badNonce")
        self.nonces.remove(nonce)
        assert header.url == f"{self.url}{request.path}", header.url
        assert request.content_type == "application/jose+json"
        if header.kid is None:
            key = header.jwk
            assert resource == "newAccount"
        elif (key := self.accounts.get(header.kid)) is None:
            raise Said("accountDoesNotExist", "no such account")
        assert signed.verify(key), "the signature is wrong"
        payload = json.loads(signed.payload) if signed.payload else None
        self.asked.append((resource, payload))
        if resource in self.after:
            name, said = self.after.pop(resource)
            self.says[name] = said
        if (said := self.says.pop(resource, None)) is not None:
            raise said
        return payload, key

    async def _account(self, request):
        payload, key = await self._payload(request, "newAccount")
        url = f"{self.url}/account/{key.thumbprint().hex()[:16]}"
        headers, body = {"Location": url}, {"status": self.account_status}
        if url in self.accounts:
            return web.json_response(body, headers=headers)
        if payload.get("onlyReturnExisting"):
            raise Said("accountDoesNotExist", "no such account")
        if self.external:
            if "externalAccountBinding" not in payload:
                raise Said("externalAccountRequired")
            bound = JWS.from_json(payload["externalAccountBinding"])
            mac = JWKOct(key=urlsafe_b64decode(MAC_KEY + "="))
            assert bound.signature.combined.kid == "kid-1"
            if not bound.verify(mac):
                raise Said("unauthorized", "the binding does not verify")
            assert json.loads(bound.payload) == key.to_json()
        assert payload.get("termsOfServiceAgreed") or not self.terms
        self.accounts[url] = key
        return web.json_response(body, status=201, headers=headers)

    async def _own_account(self, request):
        await self._payload(request, "account")
        return web.json_response({"status": self.account_status})

    async def _new_order(self, request):
        payload, _ = await self._payload(request, "newOrder")
        if self.fault == "throttle":
            self.fault = ""
            raise Said("rateLimited", "too many orders")
        for url, order in self.orders.items():
            same = order["identifiers"] == payload["identifiers"] and order["status"] == "ready"
            if self.reuses and same:
                return web.json_response(self._shown(order), headers={"Location": url})
        url = f"{self.url}/order/{token_urlsafe(6)}"
        values = [one["value"] for one in payload["identifiers"]]
        self.orders[url] = order = {
            **payload,
            "url": url,
            "status": "pending" if self.unauthorized & {*values} else "ready",
            "finalize": f"{url}/finalize",
            "authorizations": [f"{self.url}/authz/{one}" for one in values],
        }
        shown = self._shown(order) | ({"status": "pending"} if self.lags else {})
        return web.json_response(shown, status=201, headers={"Location": url})

    async def _authorization(self, request):
        await self._payload(request, "authz")
        name = request.match_info["name"]
        status = "pending" if name in self.unauthorized else "valid"
        return web.json_response({"status": status, "identifier": {"type": "dns", "value": name}})

    def _found(self, request):
        found = self.orders.get(f"{self.url}/order/{request.match_info['id']}")
        if found is None:
            raise web.HTTPNotFound
        return found

    @staticmethod
    def _shown(order):
        return {key: value for key, value in order.items() if key not in {"url", "csr", "made"}}

    async def _order(self, request):
        await self._payload(request, "order")
        return web.json_response(self._shown(self._found(request)))

    async def _finalize(self, request):
        payload, _ = await self._payload(request, "finalize")
        order = self._found(request)
        if order["status"] != "ready":
            raise Said("orderNotReady", f"the order is {order['status']}")
        fault, self.fault = self.fault, self.fault if self.fault in LASTING else ""
        if fault == "refused":
            order["status"] = "invalid"
            raise Said("badCSR", "the key is not good enough")
        order["csr"] = urlsafe_b64decode(payload["csr"] + "==")
        if fault in {"pending", "timeout-after-accept"}:
            order["status"] = "processing"
        else:
            self.finish(order, fault)
        if fault in {"timeout-after-accept", "lost-reply"}:
            request.transport.abort()
        return web.json_response(self._shown(order))

    async def _certificate(self, request):
        await self._payload(request, "certificate")
        found = [self._found(request)["made"], *(self.chain or [self.issuer.issuing.certificate])]
        body = b"".join(one.public_bytes(Encoding.PEM) for one in found)
        return web.Response(body=body, content_type="application/pem-certificate-chain")

    async def _revoke(self, request):
        payload, _ = await self._payload(request, "revokeCert")
        der = urlsafe_b64decode(payload["certificate"] + "==")
        certificate = x509.load_der_x509_certificate(der)
        if certificate not in self.certificates():
            raise Said("malformed", "no such certificate")
        if certificate in self.certificates("revoked"):
            raise Said("alreadyRevoked")
        self.keep(certificate, "revoked")
        return web.Response()


@asynccontextmanager
async def running(fake: FakeAcme, port: int = 0):
    """Serve on loopback; yields the directory's URL."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tls_files(fake.issuer, fake.folder))
    server = TestServer(fake.application(), scheme="https", port=port)
    await server.start_server(ssl=tls)
    fake.url = f"https://127.0.0.1:{server.port}"
    try:
        yield f"{fake.url}/dir"
    finally:
        await server.close()


def tls_files(issuer: FakeIssuer, folder: Path) -> Path:
    """Write certificate and key of a server on loopback into one file."""
    now = datetime.now(UTC)  # noqa: TID251 - a real certificate
    key = generate_key("EC-P256")
    certificate = make_server_certificate(
        issuer.root, ["127.0.0.1"], key.public_key(), lifetime=timedelta(days=9), now=now
    )
    path = folder / "tls.pem"
    path.write_bytes(certificate.public_bytes(Encoding.PEM) + plain_key(key))
    return path

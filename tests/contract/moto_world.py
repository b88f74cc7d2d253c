"""AWS Private CA as moto has it, as the contract suite and the kills need it.

Between moto and the backend is a proxy that remembers idempotency tokens, as the service does for
five minutes and moto does not, and that lets orders go wrong. What signs, counts and revokes is
moto, by its own records.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import aiohttp
from _pytest.monkeypatch import MonkeyPatch
from aiohttp import web
from cryptography import x509
from fake_aws_pca import answer, error, serving
from moto_pca import CREDENTIALS, END_ENTITY, SIGNS, running

from backends.aws_pca import AwsPcaBackend, AwsPcaSettings
from est_server.ports.ca import BackendContext
from est_server.testing.issuer import FakeIssuer

ITSELF = "moto signs what it is asked for: fake_aws_pca shows this"
AWAY = {"throttle": "ThrottlingException", "refused": "InvalidArgsException"}
A_YEAR = timedelta(days=365)


class _OfMoto:
    """The authority, and what it can do at moto: there nothing lives shorter than a year."""

    def __init__(self, authority):
        self._authority = authority
        self.capabilities = replace(authority.capabilities, shortest_lifetime=A_YEAR)

    def __getattr__(self, name):
        return getattr(self._authority, name)


class MotoWorld:
    """A CA of moto's behind the proxy."""

    impossible = MappingProxyType(
        dict.fromkeys(("wrong-key", "wrong-names", "wrong-validity", "wrong-issuer"), ITSELF)
    )

    def __init__(self, folder, clock):
        self.folder, self.clock, self.fault = folder, clock, ""
        self._answers, self._taken, self._turn = {}, [], asyncio.Lock()

    async def __aenter__(self):
        self._running = AsyncExitStack()
        patched = self._running.enter_context(MonkeyPatch.context())
        for name, value in CREDENTIALS.items():
            patched.setenv(name, value)
        self._moto = self._running.enter_context(running())
        root = FakeIssuer.in_folder(self.folder).root
        arn = await asyncio.to_thread(self._moto.new_ca, "contract CA", root)
        url = await self._running.enter_async_context(serving(self._handle))
        self._session = await self._running.enter_async_context(aiohttp.ClientSession())
        # for processes that come and go
        (self.folder / "moto.json").write_text(json.dumps({"arn": arn, "endpoint": url}))
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    def open(self):
        settings = AwsPcaSettings.model_validate(
            {
                **json.loads((self.folder / "moto.json").read_text()),
                "timeout": "10s",
                "template": END_ENTITY,
                "signing_algorithm": SIGNS,
            }
        )
        return _OfMoto(
            AwsPcaBackend().open(settings, BackendContext("ca", self.folder, self.clock))
        )

    async def fail(self, fault):
        self.fault = fault

    async def heal(self):
        self.fault = ""
        taken, self._taken = self._taken, []
        for headers, body in taken:
            await self._ordered(headers, body)

    async def issued(self):
        made = self._records().issued_certificates.values()
        return [x509.load_pem_x509_certificate(pem) for pem in made]

    async def revoked(self):
        return {int(text.replace(":", ""), 16) for text in self._records().revoked_certificates}

    def _records(self):
        return self._moto.records(json.loads((self.folder / "moto.json").read_text())["arn"])

    async def _handle(self, request):
        body = await request.read()
        headers = {name: request.headers[name] for name in ("X-Amz-Target", "Authorization")}
        if self.fault == "unavailable":
            request.transport.abort()
            return answer({})
        if not headers["X-Amz-Target"].endswith(".IssueCertificate"):
            return await self._forwarded(headers, body)
        fault, self.fault = self.fault, ""
        if fault in AWAY:
            return error(AWAY[fault])
        if fault == "timeout-after-accept":
            self._taken.append((headers, body))
            request.transport.abort()
            return answer({})
        found = await self._ordered(headers, body)
        if fault == "lost-reply":
            request.transport.abort()
        return found

    async def _ordered(self, headers, body):
        token = json.loads(body)["IdempotencyToken"]
        async with self._turn:
            if token not in self._answers:
                found = await self._forwarded(headers, body)
                assert found.status == 200, found.body
                self._answers[token] = found.body
        return web.Response(body=self._answers[token], headers=JSON)

    async def _forwarded(self, headers, body):
        async with self._session.post(
            self._moto.url, data=body, headers={**headers, **JSON}
        ) as found:
            return web.Response(status=found.status, body=await found.read(), headers=JSON)


JSON = {"Content-Type": "application/x-amz-json-1.1"}

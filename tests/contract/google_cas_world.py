"""A pool of the fake Google CAS, over gRPC; away when its server is stopped."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import MappingProxyType

from fake_google_cas import POOL, FakeGoogleCas, running

from backends.google_cas import GoogleCasBackend, GoogleCasSettings
from est_server.ports.ca import BackendContext


class GoogleCasWorld:
    """Two CAs in one pool."""

    impossible = MappingProxyType({})

    def __init__(self, folder, clock):
        self.folder, self.clock, self._fake = folder, clock, FakeGoogleCas(folder)
        self._running = AsyncExitStack()

    async def __aenter__(self):
        port = await self._running.enter_async_context(running(self._fake))
        (self.folder / "port").write_text(str(port))  # for processes that come and go
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    @property
    def _port(self):
        return int((self.folder / "port").read_text())

    def open(self):
        settings = GoogleCasSettings.model_validate(
            {
                "pool": POOL,
                "endpoint": f"127.0.0.1:{self._port}",
                "insecure": True,
                "timeout": "2s",
            }
        )
        return GoogleCasBackend().open(settings, BackendContext("ca", self.folder, self.clock))

    async def fail(self, fault):
        if fault == "unavailable":
            await self._running.aclose()
            self._running = AsyncExitStack()
            self._away = True
        else:
            self._fake.fault = fault

    _away = False

    async def heal(self):
        self._fake.heal()
        if self._away:
            await self._running.enter_async_context(running(self._fake, self._port))
            self._away = False

    async def issued(self):
        return self._fake.certificates()

    async def revoked(self):
        return {one.serial_number for one in self._fake.certificates(revoked=True)}

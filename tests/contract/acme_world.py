"""The fake ACME server, and pebble."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import MappingProxyType

from fake_acme import MAC_KEY, FakeAcme, running

from backends.acme_upstream import AcmeUpstreamBackend, AcmeUpstreamSettings
from est_server.pki.authority import plain_key
from est_server.pki.keys import generate_key
from est_server.ports.ca import BackendContext

USAGES = {
    "key_usage": ["digitalSignature", "keyEncipherment"],
    "extended_key_usage": ["serverAuth", "clientAuth"],
}


def opened(folder, clock, directory, **settings):
    """Open the backend on files of a folder: ``acme.key``, ``eab``, and what `settings` name."""
    if not (folder / "acme.key").exists():
        (folder / "acme.key").write_bytes(plain_key(generate_key("EC-P256")))
        (folder / "eab").write_text(MAC_KEY)
    settings = AcmeUpstreamSettings.model_validate(
        {
            "directory": directory,
            "trust": ["root.pem"],
            "account_key": "file:acme.key",
            "external_account": {"key_id": "kid-1", "mac_key": "file:eab"},
            "terms_of_service_agreed": True,
            "learned": "learned.pem",
            **USAGES,
            **settings,
        }
    )
    return AcmeUpstreamBackend().open(settings, BackendContext("ca", folder, clock))


class AcmeWorld:
    """The fake, over TLS, with an account that is bound to a customer."""

    impossible = MappingProxyType({})

    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock
        self._fake = FakeAcme(folder, external=True, terms="https://acme.example/terms")

    async def __aenter__(self):
        self._running = AsyncExitStack()
        url = await self._running.enter_async_context(running(self._fake))
        (self.folder / "url").write_text(url)  # for processes that come and go
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    def open(self):
        url = (self.folder / "url").read_text()
        issuers = ["root.pem", "issuing.pem"]
        return opened(self.folder, self.clock, url, issuers=issuers, timeout="2s")

    async def fail(self, fault):
        self._fake.fault = fault

    async def heal(self):
        self._fake.heal()

    async def issued(self):
        return self._fake.certificates()

    async def revoked(self):
        return {one.serial_number for one in self._fake.certificates("revoked")}

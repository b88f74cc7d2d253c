"""The fake ACME server, and pebble."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import MappingProxyType

from fake_acme import MAC_KEY, FakeAcme, running
from pebble import Pebble, authorize

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


class Authorizing:
    """The authority, with somebody who has the account authorized for each name beforehand."""

    def __init__(self, authority):
        self._authority, self.refuse = authority, False

    def __getattr__(self, name):
        return getattr(self._authority, name)

    async def prepare(self, order):
        refuse, self.refuse = self.refuse, False
        if not refuse:
            await authorize(self._authority._session, order.plan.subject_alternative_names)
        return await self._authority.prepare(order)


UNWILLING = "pebble can't be made to; the fake shows it"


class PebbleWorld:
    """Pebble, which knows nothing but its root beforehand."""

    impossible = MappingProxyType(
        dict.fromkeys(
            ("lost-reply", "throttle", "timeout-after-accept", "wrong-key", "wrong-names",
             "wrong-validity", "wrong-issuer", "pending"), UNWILLING,
        )
    )  # fmt: skip

    def __init__(self, folder, clock):
        self.folder, self.clock, self._open = folder, clock, []
        self._pebble = Pebble(folder)

    async def __aenter__(self):
        await self._pebble.start()
        (self.folder / "url").write_text(self._pebble.directory)
        return self

    async def __aexit__(self, *_):
        await self._pebble.stop()

    def open(self):
        made = opened(
            self.folder,
            self.clock,
            (self.folder / "url").read_text(),
            trust=["tls-root.pem"],
            issuers=["pebble-root.pem"],
        )
        self._open.append(Authorizing(made))
        return self._open[-1]

    async def fail(self, fault):
        match fault:
            case "unavailable":
                await self._pebble.relay.stop()
            case "refused":
                self._open[-1].refuse = True
            case _:
                raise NotImplementedError(fault)
        self._away = fault == "unavailable"

    _away = False

    async def heal(self):
        if self._away:
            await self._pebble.relay.start()
        self._away = False

    async def issued(self):
        return [certificate for certificate, _ in (await self._pebble.issued()).values()]

    async def revoked(self):
        found = await self._pebble.issued()
        return {serial for serial, (_, status) in found.items() if status == "Revoked"}

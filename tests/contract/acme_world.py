"""The fake ACME server, and pebble."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import MappingProxyType

from acme_backend import opened
from fake_acme import FakeAcme, running
from pebble import Pebble, authorize


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

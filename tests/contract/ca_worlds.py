"""The world of each backend, by its name: for the contract suite and for the kills."""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from types import MappingProxyType

from _pytest.monkeypatch import MonkeyPatch
from acme_world import AcmeWorld, PebbleWorld
from counting_ca import Counting
from fake_aws_pca import ARN, FakeAwsPca
from fake_aws_pca import running as running_aws
from fake_est import FakeEst, answering
from fake_openbao import FakeOpenBao, running
from google_cas_world import GoogleCasWorld
from moto_world import MotoWorld
from pkcs11_world import Pkcs11World

from backends.aws_pca import AwsPcaBackend, AwsPcaSettings
from backends.est_upstream import EstUpstreamBackend, EstUpstreamSettings
from backends.openbao import OpenBaoBackend, OpenBaoSettings
from backends.soft import SoftBackend, SoftSettings
from est_server.pki.authority import encrypt_key
from est_server.ports.ca import BackendContext
from est_server.testing.issuer import FakeIssuer
from est_server.testing.scripted import ForgetfulWorld, RepeatingWorld, ScriptedWorld

PASSPHRASE = b"contract"
IN_PROCESS = "its key is here and it signs within the call: there is no answer to be lost"
EXACT = "it signs exactly what it is given, and nobody stands between it and this server"


class SoftWorld:
    """A soft CA; its books are the ledger's, for nothing leaves it before that."""

    impossible = MappingProxyType(
        {
            "lost-reply": IN_PROCESS,
            "timeout-after-accept": IN_PROCESS,
            "throttle": "it has no limit of its own",
            "wrong-key": EXACT,
            "wrong-names": EXACT,
            "wrong-validity": EXACT,
            "wrong-issuer": EXACT,
            "unavailable-then-back": "its key is in memory once it is open",
        }
    )

    def __init__(self, folder, clock):
        self.folder, self.clock, self._open = folder, clock, []
        self._issuer = FakeIssuer.in_folder(folder)
        (folder / "passphrase").write_bytes(PASSPHRASE)
        (folder / "ca.key").write_bytes(encrypt_key(self._issuer.issuing.key, PASSPHRASE))
        (folder / "ca.key").chmod(0o600)

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass

    def open(self):
        settings = SoftSettings.model_validate(
            {
                "certificate": "issuing.pem",
                "key": "file:ca.key",
                "passphrase": "file:passphrase",
                "chain": ["root.pem"],
            }
        )
        made = SoftBackend().open(settings, BackendContext("ca", self.folder, self.clock))
        self._open.append(Counting(made))
        return self._open[-1]

    async def fail(self, fault):
        match fault:
            case "unavailable":
                (self.folder / "ca.key").rename(self.folder / "ca.key.away")
            case "refused":
                self._open[-1].refuse = True
            case _:
                raise NotImplementedError(fault)

    async def heal(self):
        away = self.folder / "ca.key.away"
        if away.exists():
            away.rename(self.folder / "ca.key")

    async def issued(self):
        return [certificate for made in self._open for certificate in made.made]

    async def revoked(self):
        return set()


class OpenBaoWorld:
    """A role of the fake OpenBao, over HTTP."""

    impossible = MappingProxyType({})

    def __init__(self, folder, clock):
        self.folder, self.clock, self._fake = folder, clock, FakeOpenBao(folder)

    async def __aenter__(self):
        (self.folder / "token").write_text("hvs.contract")
        self._fake.logins.append("hvs.contract")
        self._running = AsyncExitStack()
        url = await self._running.enter_async_context(running(self._fake))
        (self.folder / "url").write_text(url)  # for processes that come and go
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    def open(self):
        settings = OpenBaoSettings.model_validate(
            {
                "url": (self.folder / "url").read_text(),
                "auth": {"token": "file:token"},
                "role": "devices",
            }
        )
        return OpenBaoBackend().open(settings, BackendContext("ca", self.folder, self.clock))

    async def fail(self, fault):
        self._fake.fault = "sealed" if fault == "unavailable" else fault

    async def heal(self):
        self._fake.heal()

    async def issued(self):
        return self._fake.certificates()

    async def revoked(self):
        return {one.serial_number for one in self._fake.certificates("revoked")}


class EstUpstreamWorld:
    """The fake EST server, over TLS, which gives the same request the same certificate."""

    impossible = MappingProxyType({})
    repeats = True

    def __init__(self, folder, clock):
        self.folder, self.clock = folder, clock
        self._fake = FakeEst(folder, repeats=self.repeats)
        self._fake.retry_after = "1"

    async def __aenter__(self):
        (self.folder / "password").write_text("contract")
        self._running = ExitStack()
        port = self._running.enter_context(answering(self._fake))
        (self.folder / "port").write_text(str(port))  # for processes that come and go
        return self

    async def __aexit__(self, *_):
        self._running.close()

    def open(self):
        settings = EstUpstreamSettings.model_validate(
            {
                "url": f"https://127.0.0.1:{(self.folder / 'port').read_text()}",
                "trust": ["root.pem"],
                "credential": {"username": "ra", "password": "file:password"},
                "cacerts": "kept.pem",
                **({"idempotent_for": "10m"} if self.repeats else {}),
            }
        )
        return EstUpstreamBackend().open(settings, BackendContext("ca", self.folder, self.clock))

    async def fail(self, fault):
        self._fake.fault = fault

    async def heal(self):
        self._fake.heal()

    async def issued(self):
        return self._fake.certificates()

    async def revoked(self):
        return set()


class AwsPcaWorld:
    """The fake AWS Private CA, through the SDK."""

    impossible = MappingProxyType({})

    def __init__(self, folder, clock):
        self.folder, self.clock, self._fake = folder, clock, FakeAwsPca(folder)

    async def __aenter__(self):
        self._running = AsyncExitStack()
        patched = self._running.enter_context(MonkeyPatch.context())
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patched.setenv(name, "contract")
        url = await self._running.enter_async_context(running_aws(self._fake))
        (self.folder / "url").write_text(url)  # for processes that come and go
        return self

    async def __aexit__(self, *_):
        await self._running.aclose()

    def open(self):
        settings = AwsPcaSettings.model_validate(
            {"arn": ARN, "endpoint": (self.folder / "url").read_text(), "timeout": "10s"}
        )
        return AwsPcaBackend().open(settings, BackendContext("ca", self.folder, self.clock))

    async def fail(self, fault):
        self._fake.fault = fault

    async def heal(self):
        self._fake.heal()

    async def issued(self):
        return self._fake.certificates()

    async def revoked(self):
        return {one.serial_number for one in self._fake.certificates("revoked")}


class EstForgetfulWorld(EstUpstreamWorld):
    """One that makes another certificate each time."""

    repeats = False


WORLDS = {
    "pkcs11": Pkcs11World,
    "acme_upstream": AcmeWorld,
    "acme_upstream-pebble": PebbleWorld,
    "aws_pca": AwsPcaWorld,
    "aws_pca-moto": MotoWorld,
    "est_upstream": EstUpstreamWorld,
    "est_upstream-forgets": EstForgetfulWorld,
    "google_cas": GoogleCasWorld,
    "openbao": OpenBaoWorld,
    "soft": SoftWorld,
    "scripted": ScriptedWorld,
    "scripted-repeats": RepeatingWorld,
    "scripted-forgets": ForgetfulWorld,
}

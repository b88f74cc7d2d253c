"""A CA in a token of SoftHSM's, as the contract suite needs it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from types import MappingProxyType

from counting_ca import Counting
from pkcs11_tokens import MODULE, PIN, Token, new_token, softhsm

from backends.pkcs11 import Pkcs11Backend, Pkcs11Settings
from est_server.ports.ca import BackendContext
from est_server.testing.issuer import FakeIssuer

DIGEST = "its token gets digests only: a signature that is lost on the way is of no use to anybody"
EXACT = "the certificate's contents are made here, and its token signs nothing but their digest"


class Pkcs11World:
    """A key in a token; its books are the ledger's, for nothing leaves this server before that."""

    impossible = MappingProxyType(
        {
            "lost-reply": DIGEST,
            "timeout-after-accept": DIGEST,
            "throttle": "it has no limit of its own",
            "wrong-key": EXACT,
            "wrong-names": EXACT,
            "wrong-validity": EXACT,
            "wrong-issuer": "what another key signs is not used at all: test_pkcs11_contract.py",
            "unavailable-at-start": "its certificates are files: it starts without its token",
        }
    )

    def __init__(self, folder, clock):
        self.folder, self.clock, self._open = folder, clock, []
        self._before = os.environ.get("SOFTHSM2_CONF")
        os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
        FakeIssuer.in_folder(folder)
        self._token = Token(folder)
        if not self._token.objects.exists():
            new_token(folder)
            softhsm(self._token, "--import", str(folder / "issuing.key"), "--token", "ca",
                    "--label", "issuing", "--id", "01", "--pin", PIN)  # fmt: skip

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        for made in self._open:
            await made.close()
        if self._before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = self._before

    def open(self):
        settings = Pkcs11Settings.model_validate(
            {
                "certificate": "issuing.pem",
                "chain": ["root.pem"],
                "key": f"pkcs11:token=ca;object=issuing?module-path={MODULE}",
                "pin": "file:pin",
            }
        )
        made = Pkcs11Backend().open(settings, BackendContext("ca", self.folder, self.clock))
        self._open.append(Counting(made))
        return self._open[-1]

    async def fail(self, fault):
        match fault:
            case "unavailable":
                shutil.move(self._token.objects, self.folder / "away")
                self._token.objects.mkdir()
                for made in self._open:
                    with suppress(AttributeError, ProcessLookupError):
                        made._signer._sessions[0]._process._process.kill()
            case "refused":
                self._open[-1].refuse = True
            case _:
                raise NotImplementedError(fault)

    async def heal(self):
        if (self.folder / "away").exists():
            self._token.objects.rmdir()
            shutil.move(self.folder / "away", self._token.objects)

    async def issued(self):
        return [certificate for made in self._open for certificate in made.made]

    async def revoked(self):
        return set()

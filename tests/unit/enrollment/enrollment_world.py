"""The use case with a real ledger and a CA that does what a script says; no sockets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from est_server.app.parts import ready_ledger, rulebook_of
from est_server.config.configuration import load
from est_server.enrollment.credentials import generate_password, hash_generated
from est_server.enrollment.request import BasicCredentials, EnrollmentRequest
from est_server.enrollment.service import EnrollmentService
from est_server.ports.ledger import Credential
from est_server.ports.tls import TlsFacts
from est_server.storage.memory import MemoryEphemeral
from est_server.testing import MovedClock
from est_server.testing.scripted import RepeatingWorld

TLS = TlsFacts("TLSv1.3", "TLS_AES_256_GCM_SHA384", "X25519", False, None, (), None, b"e" * 32)


@dataclass(slots=True)
class Desk:
    """One server's use case.

    Attributes:
        world: the CA elsewhere, whose faults can be ordered.
        authority: the same, as it is asked.
    """

    service: EnrollmentService
    world: RepeatingWorld
    authority: Any
    ledger: Any
    clock: MovedClock
    key: bytes

    async def user(self, name: str, **changes: Any) -> BasicCredentials:
        """Return a new credential for profile `interop`."""
        password = generate_password()
        made = Credential(
            id=f"c-{name}",
            username=name,
            verifier=hash_generated(password, self.key),
            profile="interop",
            created_at=self.clock(),
            uses_allowed=None,
        )
        await self.ledger.add_credential(replace(made, **changes))
        return BasicCredentials(name, password)

    def request(self, body: bytes, who: BasicCredentials | None, **changes: Any) -> Any:
        made = EnrollmentRequest("simpleenroll", None, body, TLS, who, "192.0.2.1")
        return replace(made, **changes)

    def holding(self, certificate: Any) -> TlsFacts:
        return replace(TLS, client_chain=(certificate.public_bytes(Encoding.DER),))


@asynccontextmanager
async def open_desk(server: Any, folder: Any):
    """Open the use case of a directory that `init --interop` made."""
    configuration = load(server.config)
    ledger = ready_ledger(configuration, migrate=True, node="unit")
    clock = MovedClock()
    world = RepeatingWorld(folder, clock)
    authorities = {"issuing": world.open()}
    rulebook = rulebook_of(configuration, authorities, ledger, MemoryEphemeral())
    rulebook = replace(rulebook, authenticator=replace(rulebook.authenticator, clock=clock))
    service = EnrollmentService(rulebook, authorities, ledger, MemoryEphemeral(), clock)
    key = configuration.server.credentials.key.read(configuration.base)
    try:
        yield Desk(service, world, authorities["issuing"], ledger, clock, key)
    finally:
        await ledger.close()

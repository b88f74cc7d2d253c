"""The same question gets the same certificate, not a second one.

A device that lost the answer asks again, and so does a client whose library retries. The key
leaves the CSR's signature out, since ECDSA signatures differ each time the same request is signed.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from est_server.profiles.decision import RequestFacts


def idempotency_key(profile: str, request: RequestFacts) -> bytes:
    """Return the SHA-256 over profile, identity, purpose and CertificationRequestInfo."""
    return _digest(profile, request, "", request.csr.info_der)


def match_key(profile: str, request: RequestFacts) -> bytes:
    """Return the SHA-256 over profile, identity, purpose, label and key.

    A poll of a pending request has it in common with the first one; its CSR is signed anew for
    another connection (RFC 7030 4.2.3).
    """
    label = "" if request.label is None else f"/{request.label}"
    standin = request.identity.standin
    if standin is not None:  # what a registrar asked for, no other one collects
        label += f" by {standin.certificate.identity}"
    return _digest(profile, request, label, request.csr.spki)


def _digest(profile: str, request: RequestFacts, label: str, asked: bytes) -> bytes:
    """Return a digest of who asks for what.

    The purpose of a renewal names the certificate that is renewed, so that the next renewal with
    the same key and names is a new question.
    """
    replaced = request.identity.certificate
    purpose = (
        request.operation
        if replaced is None
        else f"{request.operation} {replaced.ca} {replaced.serial_number:x}"
    )
    digest = sha256()
    for part in (profile, request.identity.method, request.identity.name, purpose + label):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "big") + encoded)
    digest.update(asked)
    return digest.digest()


class Turns:
    """Lets one task of this process at a time work on a key; the others wait their turn.

    It only spares work: across processes the ledger's unique key decides.
    """

    def __init__(self) -> None:
        self._running: dict[bytes, asyncio.Future[None]] = {}

    @asynccontextmanager
    async def turn(self, key: bytes) -> AsyncIterator[None]:
        """Wait until nobody else works on `key`, then hold it."""
        while (running := self._running.get(key)) is not None:
            await asyncio.wait((running,))
        done = self._running[key] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._running[key]
            done.set_result(None)

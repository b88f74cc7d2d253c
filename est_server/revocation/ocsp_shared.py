"""A responder that several processes are: one that has the CA makes it, the others read it.

Its key is in the ledger, encrypted under a passphrase that these processes have and the database
has not. A process that only reads has nothing of the CA: whoever takes it over can sign OCSP
answers until the certificate ends, which takes days.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_der_private_key,
)

from est_server.errors import BackendUnavailable
from est_server.pki.ocsp import ResponseSigner
from est_server.ports.validation import SharedResponder
from est_server.revocation.ocsp_responder import Responder

if TYPE_CHECKING:
    from datetime import datetime

    from est_server.ports.ledger import Ledger


@dataclass(slots=True)
class ReadResponder(Responder):
    """Signs for one CA with what another process has made.

    Attributes:
        ledger: where it is.
        passphrase: of its key; None if the configuration has none.
    """

    ledger: Ledger = field(kw_only=True)
    passphrase: bytes | None = field(kw_only=True, repr=False)

    async def _issued(self, now: datetime) -> ResponseSigner:
        found = await self._shared()
        if found is None or found.certificate.not_valid_after_utc <= now:
            raise BackendUnavailable(
                "ocsp.responder",
                f"no responder of CA {self.ca} is in the ledger",
                hint="a process with role publisher, this CA and responder_passphrase makes it",
            )
        return found

    async def _shared(self) -> ResponseSigner | None:
        """Return what is in the ledger, unless it was revoked.

        Raises:
            BackendUnavailable: ``ocsp.passphrase``: it is no use here.
        """
        if self.passphrase is None:
            raise BackendUnavailable(
                "ocsp.passphrase",
                "listeners.public.responder_passphrase is not set: no OCSP without a CA's key",
                hint="give it to this process and to whoever publishes",
            )
        shared = await self.ledger.validation.responder(self.ca)
        if shared is None:
            return None
        certificate = x509.load_der_x509_certificate(shared.certificate)
        record = await self.ledger.certificate(self.ca, certificate.serial_number)
        if record is None or record.status != "good":
            return None
        try:
            key = await asyncio.to_thread(load_der_private_key, shared.key, self.passphrase)
        except ValueError as error:
            raise BackendUnavailable(
                "ocsp.passphrase",
                f"the key of CA {self.ca}'s responder does not open with responder_passphrase",
                hint="it has to be the same everywhere",
            ) from error
        return ResponseSigner(certificate, key)  # type: ignore[arg-type]  # a key that signed a CSR


@dataclass(slots=True)
class SharingResponder(ReadResponder):
    """Signs for one CA, and makes in time what others read."""

    async def _issued(self, now: datetime) -> ResponseSigner:
        try:
            found = await self._shared()
        except BackendUnavailable as error:
            if error.rule != "ocsp.passphrase":
                raise
            found = None  # the passphrase was changed: what others can read is made now
        if found is not None and self._renew_at(found.certificate) > now:
            return found
        # two arguments: a class with slots is made anew, and `super` would mean the one before
        made = await Responder._issued(self, now)  # noqa: SLF001 - its own base
        key = made.key.private_bytes(
            Encoding.DER, PrivateFormat.PKCS8, BestAvailableEncryption(self.passphrase or b"")
        )
        certificate = made.certificate.public_bytes(Encoding.DER)
        await self.ledger.validation.share_responder(self.ca, SharedResponder(certificate, key))
        return made

"""The authorized responder of one CA (RFC 6960 4.2.2.2): its key, its certificate, their renewal.

The key is made in this process and never leaves it, unless several processes are one responder
(`est_server.revocation.ocsp_shared`); the CA's own key signs no answer. The
certificate is issued directly by the CA and says that nobody needs to ask for its own status
(4.2.2.2.1), so it lives for days. The next one is made while a third of its life is left: the old
one stays valid, and with it what it signed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from est_server.errors import BackendUnavailable
from est_server.pki.keys import generate_key
from est_server.pki.ocsp import ResponseSigner
from est_server.pki.plan import CertificatePlan
from est_server.pki.usages import OCSP_SIGNING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.ports.ca import CertificateAuthority
    from est_server.ports.clock import Clock
    from est_server.revocation.ocsp_policy import OcspPolicy

    Issue = Callable[
        [CertificateAuthority, CertificatePlan, CertificateIssuerPrivateKeyTypes],
        Awaitable[x509.Certificate],
    ]
    """Has a certificate made and recorded; see `est_server.enrollment.responder`."""

_CLOCK_SKEW = timedelta(minutes=5)
_AFTER_FAILURE = timedelta(seconds=10)
"""Before the CA is asked again: everybody who wants a status waits for it."""
_LEAST_LIFE = timedelta(minutes=1)
"""What must be left of a responder, or of its CA, to sign with it."""


@dataclass(slots=True)
class Responder:
    """Signs for one CA.

    Attributes:
        ca: the CA's name in server.yaml.
        authority: the CA.
        policy: key and lifetimes.
        clock: the time.
        issue: has certificates made.
    """

    ca: str
    authority: CertificateAuthority
    policy: OcspPolicy
    clock: Clock
    issue: Issue
    _signer: ResponseSigner | None = None
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _not_before: datetime | None = None

    @property
    def certificate(self) -> x509.Certificate | None:
        """The certificate in use; None before the first."""
        return None if self._signer is None else self._signer.certificate

    async def signer(self) -> ResponseSigner:
        """Return what signs now.

        Raises:
            BackendRejected, BackendUnavailable: there is none, and the CA makes none.
        """
        if (signer := self._usable()) is not None:
            return signer
        # a client that goes away must not leave a certificate half made
        return await asyncio.shield(self._first())

    async def _first(self) -> ResponseSigner:
        async with self._turn:
            if (signer := self._usable()) is None:
                signer = await self._make()
        return signer

    async def renew(self) -> None:
        """Make the next certificate if it is time; the present one stays when that fails.

        Raises:
            BackendRejected, BackendUnavailable: as in `signer`.
        """
        async with self._turn:
            signer = self._usable()
            if signer is None or self._renew_at(signer.certificate) <= self.clock():
                await self._make()

    def withdraw(self, serial_number: int) -> None:
        """Sign no more with the certificate of this number, if it is the one in use."""
        signer = self._signer
        if signer is not None and signer.certificate.serial_number == serial_number:
            self._signer = None

    def _usable(self) -> ResponseSigner | None:
        signer = self._signer
        if signer is None or signer.certificate.not_valid_after_utc < self.clock() + _LEAST_LIFE:
            return None
        return signer

    def _renew_at(self, certificate: x509.Certificate) -> datetime:
        """Return when a third of the certificate's life is left, and two answers' at least."""
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        left = max((end - begin) / 3, 2 * self.policy.lifetime)
        if end == self.authority.certificates().issuer.not_valid_after_utc:
            return end - _LEAST_LIFE  # the CA ends here: another one would be no longer
        return end - left

    async def _make(self) -> ResponseSigner:
        now = self.clock()
        if self._not_before is not None and now < self._not_before:
            raise BackendUnavailable("ocsp.responder", f"CA {self.ca} made no responder just now")
        self._not_before = now + _AFTER_FAILURE
        signer = self._signer = await self._issued(now)
        self._not_before = None
        return signer

    async def _issued(self, now: datetime) -> ResponseSigner:
        end = self.authority.certificates().issuer.not_valid_after_utc
        if end < now + _LEAST_LIFE:
            raise BackendUnavailable("ca.expired", f"CA {self.ca} has expired")
        key = await asyncio.to_thread(generate_key, self.policy.responder_key)
        begin = (now - _CLOCK_SKEW).replace(microsecond=0)
        plan = CertificatePlan(
            ca=self.ca,
            subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"OCSP {self.ca}"[:64])]),
            subject_alternative_names=(),
            spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            key_algorithm=self.policy.responder_key,
            not_before=begin,
            not_after=min(begin + self.policy.responder_lifetime, end),
            key_usage=("digitalSignature",),
            extended_key_usage=(OCSP_SIGNING,),
            ocsp_nocheck=True,
        )
        return ResponseSigner(await self.issue(self.authority, plan, key), key)

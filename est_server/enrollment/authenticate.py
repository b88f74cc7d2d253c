"""Who is asking (RFC 7030 3.2.3, 3.3.2).

Three proofs are known: a certificate that we issued, a manufacturer's certificate (IDevID, IEEE
802.1AR) and an enrollment credential over HTTP Basic. A renewal prefers our own certificate; a
first enrollment prefers the manufacturer's, then the credential, and takes our own certificate
only when nothing else is there, so that the decision can refuse it by name.

A certificate of ours is recognised by being, byte for byte, in the ledger: its signature was made
and checked when it was issued. Whether it is revoked or expired is the decision's business, since
an expired one may still renew itself within the profile's grace.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cryptography import x509

from est_server.enrollment import credentials as passwords
from est_server.errors import EstServerError, RateLimited, Unauthenticated
from est_server.pki.certificates import read_certificate
from est_server.pki.identity import identity_field
from est_server.pki.usages import CMC_RA, extended_key_usages
from est_server.profiles.decision import Identity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from est_server.enrollment.request import BasicCredentials, EnrollmentRequest
    from est_server.pki.path import PathValidator
    from est_server.ports.clock import Clock
    from est_server.ports.ephemeral import Budget, Ephemeral
    from est_server.ports.ledger import Credential, Ledger
    from est_server.profiles.profile import Profile

FAILURE_FLOOR = 0.3
"""Seconds that a refused password takes at least, so that its cause can't be told by the clock."""


@dataclass(frozen=True, slots=True)
class AttemptLimits:
    """How many failed passwords are looked at.

    Attributes:
        per_user: for one user name from one address, so that nobody can lock out a device from
            elsewhere.
        per_address: for one address, whatever the user names.
    """

    per_user: Budget
    per_address: Budget


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Tells who is asking, by the methods that a profile lists.

    Attributes:
        ledger: where credentials and our own certificates are found.
        ephemeral: counts failed attempts.
        issuers: DER of an issuing CA's subject -> names of the CAs with that subject.
        trust: validators by the trust store's name in server.yaml.
        credential_key: HMAC key of generated passwords.
        limits: of failed attempts.
        clock: the time.
    """

    ledger: Ledger
    ephemeral: Ephemeral
    issuers: Mapping[bytes, tuple[str, ...]]
    trust: Mapping[str, PathValidator]
    credential_key: bytes
    limits: AttemptLimits
    clock: Clock

    async def identify(self, profile: Profile, request: EnrollmentRequest) -> Identity:
        """Return the identity behind `request`.

        Raises:
            Unauthenticated: nobody we know; `rule` says what was missing or wrong.
            RateLimited: too many failed passwords.
        """
        now = self.clock()
        own = await self._own_certificate(request)
        if request.operation == "simplereenroll":
            if own is not None:
                return own
            if (
                foreign := await self._other_ca(profile, request.tls.client_chain, now)
            ) is not None:
                return foreign
        failure: Unauthenticated | None = None
        if request.tls.client_chain:
            try:
                return await self._manufacturer_certificate(profile, request, now)
            except Unauthenticated as error:
                failure = error
        offers_credential = any(
            method.client_certificate is None for method in profile.model.authenticate
        )
        if request.credentials is not None and offers_credential:
            return await self._basic(profile, request.credentials, request.peer)
        if own is not None:
            return own
        if failure is not None:
            raise failure
        raise Unauthenticated("authentication.missing", "no certificate and no credential was sent")

    async def holder(self, profile: Profile, chain: tuple[bytes, ...]) -> str | None:
        """Return whom the certificate on a connection names, if it is ours or a manufacturer's.

        It says who was there, not what they may do: nothing is granted by it.
        """
        if (own := await self._own(chain)) is not None:
            return own.name
        listed = (method.client_certificate for method in profile.model.authenticate)
        for wanted in (one for one in listed if one is not None and chain):
            with suppress(EstServerError):
                path = await self.trust[wanted.trust].validate(chain, self.clock())
                return identity_field(path.leaf, wanted.identity)
        return None

    async def is_registrar(self, request: EnrollmentRequest) -> bool:
        """Tell whether the connection shows a registration authority's certificate of ours.

        RFC 7030 3.7: what a registrar forwards is bound to the device's connection, not to its
        own. Only a certificate that we issued says so, and only while it is good.
        """
        own = await self._own_certificate(request)
        record = None if own is None else own.certificate
        now = self.clock()
        if record is None or record.der is None or record.status != "good":
            return False
        if not record.not_before <= now < record.not_after:
            return False
        if record.device_id is not None:
            device = await self.ledger.device(record.device_id)
            if device is None or device.state != "active":
                return False
        return CMC_RA in extended_key_usages(x509.load_der_x509_certificate(record.der))

    async def _own_certificate(self, request: EnrollmentRequest) -> Identity | None:
        return await self._own(request.tls.client_chain)

    async def _own(self, chain: tuple[bytes, ...]) -> Identity | None:
        if not chain:
            return None
        der = chain[0]
        try:
            leaf = read_certificate(der)
            names = self.issuers.get(leaf.issuer.public_bytes(), ())
            serial_number = leaf.serial_number
        except ValueError:
            return None
        for ca in names:
            record = await self.ledger.certificate(ca, serial_number)
            if record is not None and record.der == der:
                return Identity(
                    name=record.identity,
                    method="own-certificate",
                    certificate=record,
                    detail=f"certificate {serial_number:x} of CA {ca}",
                    anchors="explicit",
                )
        return None

    async def _manufacturer_certificate(
        self, profile: Profile, request: EnrollmentRequest, now: datetime
    ) -> Identity:
        failure: EstServerError | None = None
        for method in profile.model.authenticate:
            wanted = method.client_certificate
            if wanted is None:
                continue
            try:
                path = await self.trust[wanted.trust].validate(request.tls.client_chain, now)
                identity = Identity(
                    name=identity_field(path.leaf, wanted.identity),
                    method="client-certificate",
                    detail=f"{wanted.identity} of a certificate under trust store {wanted.trust}",
                    trust=wanted.trust,
                    anchors=self.trust[wanted.trust].store.kind,
                )
                if method.credential is not None:
                    identity = await self._credential_beside(profile, request, identity)
            except RateLimited:
                raise
            except EstServerError as error:
                failure = failure or error
                continue
            return identity
        if failure is None:
            raise Unauthenticated(
                "path.not-accepted", f"profile {profile.name} takes no manufacturer's certificate"
            )
        raise Unauthenticated(failure.rule, failure.message, hint=failure.hint) from failure

    async def _credential_beside(
        self, profile: Profile, request: EnrollmentRequest, identity: Identity
    ) -> Identity:
        """Return the identity of a certificate that a credential had to come with."""
        sent = request.credentials
        if sent is None:
            raise Unauthenticated(
                "authentication.missing", "this certificate needs a credential beside it"
            )
        found = await self.credential(profile, sent.username, sent.password, request.peer)
        if found.device_id not in {None, identity.name}:
            raise Unauthenticated(
                "credential.device", "this credential is not for the certificate's device"
            )
        detail = f"{identity.detail}, and credential {found.username}"
        return replace(identity, credential_id=found.id, detail=detail)

    async def _other_ca(
        self, profile: Profile, chain: tuple[bytes, ...], now: datetime
    ) -> Identity | None:
        """Return who holds a certificate of another CA that the profile lets renew here."""
        rules = profile.model.reenroll
        for wanted in () if rules is None or not chain else rules.other_cas:
            try:
                path = await self.trust[wanted.trust].validate(chain, now)
                name = identity_field(path.leaf, wanted.identity)
            except EstServerError:
                continue  # what is wrong with it is said where a manufacturer's is looked for
            return Identity(
                name=name,
                method="other-ca",
                foreign=chain[0],
                detail=f"{wanted.identity} of a certificate under trust store {wanted.trust}",
                trust=wanted.trust,
                anchors=self.trust[wanted.trust].store.kind,
            )
        return None

    async def _basic(self, profile: Profile, sent: BasicCredentials, peer: str) -> Identity:
        found = await self.credential(profile, sent.username, sent.password, peer)
        return Identity(
            name=found.device_id or found.username,
            method="credential",
            credential_id=found.id,
            detail=f"credential {found.username}",
        )

    async def credential(
        self, profile: Profile, username: str, password: str, peer: str
    ) -> Credential:
        """Return the live credential of a profile that this password belongs to, spent or not.

        Raises:
            Unauthenticated: there is none.
            RateLimited: too many wrong passwords.
        """
        loop = asyncio.get_running_loop()
        floor = loop.time() + FAILURE_FLOOR
        budgets = (
            (f"user:{peer}:{username}", self.limits.per_user),
            (f"address:{peer}", self.limits.per_address),
        )
        for key, budget in budgets:
            if wait := await self.ephemeral.peek(key, budget):
                raise RateLimited("authentication.limited", "too many attempts", retry_after=wait)
        found = await self.ledger.credential(username)
        if found is None or not await self._password_fits(found, password):
            for key, budget in budgets:
                await self.ephemeral.spend(key, budget)
            await asyncio.sleep(max(0.0, floor - loop.time()))
            raise Unauthenticated("authentication.password", "unknown user or wrong password")
        if found.profile != profile.name:
            raise Unauthenticated(
                "credential.profile", f"this credential is not for profile {profile.name}"
            )
        if found.expires_at is not None and found.expires_at <= self.clock():
            raise Unauthenticated("credential.expired", "this credential has expired")
        return found

    async def _password_fits(self, credential: Credential, password: str) -> bool:
        if passwords.is_slow(credential.verifier):
            return await asyncio.get_running_loop().run_in_executor(
                None, passwords.verify, credential.verifier, password, self.credential_key
            )
        return passwords.verify(credential.verifier, password, self.credential_key)

"""An ACME server as the CA (RFC 8555): one account, whose names are authorized beforehand.

The device's CSR is forwarded unchanged; its signature and its binding to the device's TLS channel
are checked here, where that channel ends. Devices can't answer challenges for this server, so it
answers none: every name has to be authorized at the CA for the account, by the contract behind its
external account binding or by a challenge that somebody else has answered. A name that is not is
refused by name.

The server's own order is the handle for everything: its URL is durable before the CSR is handed
over, one order makes one certificate, and whoever comes after a crash asks for that order again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backends.acme_account import Account, Signer
from backends.acme_orders import AcmeOrders, base64url
from backends.acme_plan import new_order
from backends.acme_problems import AcmeProblemError, failure
from backends.acme_session import AcmeSession, origin
from backends.acme_settings import AcmeUpstreamSettings, capabilities
from backends.issuers import is_ca, issuing, keep
from backends.remote import Remote, read_certificates, tls_context, unusable
from est_server.errors import BackendRejected, BackendUnavailable, Pending
from est_server.pki.chain import chain_above, is_self_signed
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
    LooksUp,
    Prepares,
    Revokes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.revocation import RevocationReason
    from est_server.ports.secret import Secret

_REASONS: dict[str, int] = {
    "unspecified": 0,
    "keyCompromise": 1,
    "affiliationChanged": 3,
    "superseded": 4,
    "cessationOfOperation": 5,
    "privilegeWithdrawn": 9,
}
"""CRLReason (RFC 5280 5.3.1)."""
_NOT_REVOKED = frozenset({"malformed", "unauthorized"})
_KEY_HINT = "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE"


class AcmeUpstreamAuthority:
    """A `CertificateAuthority` that is an ACME server."""

    def __init__(self, settings: AcmeUpstreamSettings, session: AcmeSession, base: Path) -> None:
        self._settings = settings
        self._session = session
        self._remote = session.remote
        self._orders = AcmeOrders(session, settings.timeout)
        name = self._remote.name
        self._kept = base / (settings.learned or f"ca/{name}.issuers")
        files = [base / path for path in settings.issuers]
        self._configured = tuple(one for path in files for one in read_certificates(name, path))
        self._learned = read_certificates(name, self._kept) if self._kept.exists() else ()
        self._in_file = self._learned
        self._certificates = self._issuing()

    def _issuing(self) -> CaCertificates:
        found = issuing((*self._configured, *self._learned))
        if found is None or not any(is_self_signed(one) for one in self._configured):
            hint = "list the CA's root, and its issuing CAs as far as they are known"
            raise unusable(self._remote.name, "issuers has no root", hint)
        return found

    @property
    def capabilities(self) -> Capabilities:
        """See `AcmeUpstreamBackend.capabilities`."""
        return capabilities(self._settings)

    async def connect(self) -> None:
        """Read the directory, and find or open the account."""
        await self._session.open()

    def certificates(self) -> CaCertificates:
        """Return who issues, as far as it is configured or was learned."""
        return self._certificates

    async def prepare(self, order: IssuanceOrder) -> str:
        """Return the URL of a new order that is ready; see `Prepares.prepare`."""
        settings = self._settings
        body = new_order(
            order.plan, order.csr, subject=settings.subject, dated=settings.lifetime is None
        )
        return await self._orders.place(body)

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Carry out the order of the ticket; see `CertificateAuthority.issue`."""
        if order.ticket is None:
            raise RuntimeError("prepare first")
        found = await self._orders.carry_out(order.ticket, order.csr)
        own = [one for one in found if _has_key(one, order.plan.spki)]
        made = (own or found)[0]
        self._learn([one for one in found if one != made])
        return made

    async def find(self, order: IssuanceOrder) -> x509.Certificate | None:
        """Return what the order of the ticket came to; see `LooksUp.find`.

        One that is ready stays so until it expires, and could yet be carried out by a request that
        is under way. It is carried out now, for it makes one certificate however often it is asked.
        """
        if order.ticket is None:
            return None
        try:
            return await self.issue(order)
        except BackendRejected:
            return None
        except Pending as waits:
            raise self._remote.unavailable(
                waits.rule, "the order is being processed", retry_after=waits.retry_after
            ) from waits

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Revoke as the account (RFC 8555 7.6); see `Revokes.revoke`.

        A server that does not take a reason gets none: better revoked without than not at all.
        """
        url = self._session.directory.revoke_cert
        body = {"certificate": base64url(certificate.public_bytes(Encoding.DER))}
        try:
            try:
                await self._session.post(url, {**body, "reason": _REASONS.get(reason, 0)})
            except AcmeProblemError as problem:
                if problem.kind != "badRevocationReason":
                    raise
                await self._session.post(url, body)
        except AcmeProblemError as problem:
            if problem.kind == "alreadyRevoked":
                return
            if problem.kind in _NOT_REVOKED or problem.status == 404:
                raise BackendRejected(
                    "ca.not-revoked",
                    "the CA does not revoke this certificate",
                    hint=f"CA {self._remote.name} at {self._remote.url}: {problem.detail}",
                ) from problem
            raise failure(problem, self._remote) from problem

    async def health(self) -> Health:
        """Read the directory, ask for the account, and keep what was learned."""
        try:
            await self._session.check()
            self._keep_learned()
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.hint or error.message)
        return Health(ok=True, detail="directory read, account valid")

    async def close(self) -> None:
        """Close the connections."""
        await self._remote.close()

    def _learn(self, came: Sequence[x509.Certificate]) -> None:
        """Take over CA certificates that lead to a configured root; the server may change them."""
        known = {*self._configured, *self._learned}
        new = [one for one in came if one not in known and is_ca(one) and not is_self_signed(one)]
        heap = (*known, *new)
        led = [one for one in new if {*chain_above(one, heap)} & {*self._configured}]
        if led:
            self._learned = (*self._learned, *led)
            self._certificates = self._issuing()
            with suppress(BackendUnavailable):  # the certificate exists; `health` tells of it
                self._keep_learned()

    def _keep_learned(self) -> None:
        if self._learned and self._in_file != self._learned:
            keep(self._remote.name, self._kept, self._learned)
            self._in_file = self._learned


class AcmeUpstreamBackend:
    """Opens ACME servers as CAs."""

    settings_model = AcmeUpstreamSettings

    def capabilities(self, settings: AcmeUpstreamSettings) -> Capabilities:
        """The CSR is forwarded; subject and usages are the server's own."""
        return capabilities(settings)

    def open(
        self, settings: AcmeUpstreamSettings, context: BackendContext
    ) -> AcmeUpstreamAuthority:
        """Read the account's key, the binding and the issuers; see `Backend.open`."""
        name, base = context.name, context.base
        tls = tls_context(name, base, settings.trust)
        remote = Remote(name, origin(settings.directory), tls, settings.timeout)
        external = settings.external_account
        key = _secret(name, "account_key", settings.account_key, base)
        try:
            signer = Signer.read(key)
        except ValueError as error:
            raise unusable(name, f"account_key: {error}", _KEY_HINT) from error
        binding = None
        if external is not None:
            mac_key = _secret(name, "external_account.mac_key", external.mac_key, base)
            binding = external.key_id, mac_key.decode("ascii", "replace")
        account = Account(signer, settings.contact, settings.terms_of_service_agreed, binding)
        return AcmeUpstreamAuthority(
            settings, AcmeSession(remote, settings.directory, account), base
        )


def _secret(name: str, key: str, secret: Secret, base: Path) -> bytes:
    try:
        return secret.read(base)
    except OSError as error:
        raise unusable(name, f"{key} can't be read: {error}", f"{key}: {_KEY_HINT}") from error


def _has_key(certificate: x509.Certificate, spki: bytes) -> bool:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return False
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) == spki


_authority: type[CertificateAuthority] = AcmeUpstreamAuthority
_looks_up: type[LooksUp] = AcmeUpstreamAuthority
_prepares: type[Prepares] = AcmeUpstreamAuthority
_revokes: type[Revokes] = AcmeUpstreamAuthority
_backend: type[Backend] = AcmeUpstreamBackend

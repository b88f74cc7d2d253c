"""A CA pool of Google's Certificate Authority Service, through the SDK and its own credentials.

Subject, names, usages, policies and key come from the plan; the CSR is not sent. What the pool's
issuance policy or the template adds is compared with the plan all the same. The service decides
when a certificate begins, so what is ordered is how long it lasts.

A certificate's id in the pool is made from the order's token. The service takes an id once, for
good, and tells what became of it. Only pools of the Enterprise tier do: those of the DevOps tier
keep no certificates, can't revoke, and are refused.
"""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from google.api_core.exceptions import AlreadyExists, GoogleAPICallError, NotFound
from google.cloud.security import privateca_v1 as cas
from pydantic import Field, model_validator

from backends.google_calls import Calls
from backends.google_plan import certificate_id, create_request, pool_certificates
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
    LooksUp,
    Revokes,
)
from est_server.ports.scalars import Duration, Strict

if TYPE_CHECKING:
    from typing import Any

    from est_server.ports.clock import Clock
    from est_server.ports.revocation import RevocationReason

_REPEATS_FOR = timedelta(minutes=60)
"""How long the service remembers a request_id, by its own documentation. Until then an earlier
question is taken to be possibly under way, although its deadline was far shorter."""
_LISTED_WITHIN = timedelta(minutes=10)
"""How old a certificate is before its absence from the list means anything."""
_REASONS = {
    "unspecified": cas.RevocationReason.REVOCATION_REASON_UNSPECIFIED,
    "keyCompromise": cas.RevocationReason.KEY_COMPROMISE,
    "affiliationChanged": cas.RevocationReason.AFFILIATION_CHANGED,
    "superseded": cas.RevocationReason.SUPERSEDED,
    "cessationOfOperation": cas.RevocationReason.CESSATION_OF_OPERATION,
    "privilegeWithdrawn": cas.RevocationReason.PRIVILEGE_WITHDRAWN,
}
_PART = r"projects/[a-z0-9.:-]+/locations/[a-z0-9-]+"


class GoogleCasSettings(Strict):
    """Keys of a CA pool in server.yaml; credentials are the SDK's own business."""

    pool: str = Field(
        pattern=rf"^{_PART}/caPools/[A-Za-z0-9_-]{{1,63}}$",
        description="projects/PROJECT/locations/LOCATION/caPools/POOL",
    )
    template: str | None = Field(
        default=None,
        pattern=rf"^{_PART}/certificateTemplates/[A-Za-z0-9_-]{{1,63}}$",
        description="projects/PROJECT/locations/LOCATION/certificateTemplates/TEMPLATE",
    )
    endpoint: str = Field(
        default="privateca.googleapis.com",
        pattern=r"^([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:[0-9]+)?$",
        description="host, or host:port; of a private endpoint",
    )
    insecure: bool = Field(
        default=False, description="neither TLS nor credentials: a test's server on this machine"
    )
    timeout: Duration = Field(default="20s", validate_default=True, description="for one call")

    @model_validator(mode="after")
    def _loopback(self) -> GoogleCasSettings:
        host = self.endpoint.rpartition(":")[0].strip("[]")
        try:
            loopback = ipaddress.ip_address(host).is_loopback
        except ValueError:
            loopback = False
        if self.insecure and not loopback:
            raise ValueError("insecure takes an endpoint on this machine: 127.0.0.1:PORT")
        return self


class GoogleCasAuthority:
    """A `CertificateAuthority` that is a CA pool."""

    def __init__(self, settings: GoogleCasSettings, name: str, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._calls = Calls(
            name, settings.endpoint, insecure=settings.insecure, timeout=settings.timeout
        )
        self._certificates: CaCertificates | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `GoogleCasBackend.capabilities`."""
        return _CAPABILITIES

    async def connect(self) -> None:
        """Learn the pool's issuers; see `CertificateAuthority.connect`."""
        pool = await self._read("get_ca_pool", cas.GetCaPoolRequest(name=self._settings.pool))
        if pool.tier != cas.CaPool.Tier.ENTERPRISE:
            raise self._calls.unavailable(
                "ca.misconfigured",
                f"{self._settings.pool} is not of the Enterprise tier: it keeps no certificates",
                nothing_issued=True,
            )
        await self._read_issuers()

    def certificates(self) -> CaCertificates:
        """Return the pool's issuers as they last were."""
        if self._certificates is None:
            raise RuntimeError("connect first")
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Have the pool sign; see `CertificateAuthority.issue`."""
        settings = self._settings
        request = create_request(order, settings.pool, settings.template)
        try:
            made = await self._calls.call("create_certificate", request)
        except AlreadyExists as error:
            # the id is this order's alone: an earlier question made it
            found = await self._get(order)
            if found is None:
                raise self._calls.unavailable("ca.no-answer", str(error.message)) from error
            return found
        except GoogleAPICallError as error:
            raise self._calls.failure(error) from error
        return self._certificate(made.pem_certificate)

    async def find(self, order: IssuanceOrder) -> x509.Certificate | None:
        """Look the order's certificate up by its id; see `LooksUp.find`."""
        found = await self._get(order)
        if found is None:
            sure = order.ordered_at + _REPEATS_FOR
            if self._clock() < sure:
                raise self._calls.unavailable(
                    "ca.no-answer", f"it is not there yet; certain from {sure} on"
                )
            await self._read_issuers()  # a pool that is gone has no certificates either
        return found

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Revoke, which twice is as good as once; see `Revokes.revoke`."""
        known = await self._named(certificate)
        if _is_revoked(known):
            return
        request = cas.RevokeCertificateRequest(name=known.name, reason=_REASONS[reason])
        try:
            await self._calls.call("revoke_certificate", request)
        except GoogleAPICallError as error:
            failure = self._calls.failure(error, "ca.not-revoked")
            if not isinstance(failure, BackendRejected):
                raise failure from error
            # perhaps another process came first
            if not _is_revoked(await self._named(certificate)):
                raise failure from error

    async def health(self) -> Health:
        """Ask which CAs of the pool issue, and read their certificates again."""
        request = cas.ListCertificateAuthoritiesRequest(parent=self._settings.pool, page_size=100)
        enabled = cas.CertificateAuthority.State.ENABLED
        try:
            pager = await self._read("list_certificate_authorities", request)
            issuing = sum(one.state == enabled for one in pager.certificate_authorities)
            await self._read_issuers()
        except (BackendUnavailable, BackendRejected) as error:
            return Health(ok=False, detail=error.hint or error.message)
        return Health(ok=issuing > 0, detail=f"{self._settings.pool}: {issuing} CAs are enabled")

    async def close(self) -> None:
        """Close the connection."""
        await self._calls.close()

    async def _read_issuers(self) -> None:
        request = cas.FetchCaCertsRequest(ca_pool=self._settings.pool)
        answer = await self._read("fetch_ca_certs", request)
        chains = [[self._certificate(pem) for pem in one.certificates] for one in answer.ca_certs]
        known = pool_certificates([chain for chain in chains if chain])
        if known is None:
            raise self._calls.unavailable(
                "ca.issuer", f"{self._settings.pool} has no CA", nothing_issued=True
            )
        self._certificates = known

    async def _get(self, order: IssuanceOrder) -> x509.Certificate | None:
        """Return what the pool keeps under the order's id."""
        name = f"{self._settings.pool}/certificates/{certificate_id(order)}"
        request = cas.GetCertificateRequest(name=name)
        try:
            found = await self._calls.call("get_certificate", request)
        except NotFound:
            return None
        except (GoogleAPICallError, BackendUnavailable) as error:
            raise self._unsure(error) from error
        return self._certificate(found.pem_certificate)

    async def _named(self, certificate: x509.Certificate) -> cas.Certificate:
        """Return the pool's own record of a certificate.

        Raises:
            BackendRejected: ``ca.not-revoked``: it has none.
        """
        serial = f"{certificate.serial_number:x}"
        request = cas.ListCertificatesRequest(
            parent=self._settings.pool,
            filter=f"certificate_description.subject_description.hex_serial_number:{serial}",
        )
        pager = await self._read("list_certificates", request)
        for one in pager.certificates:
            if self._certificate(one.pem_certificate) == certificate:
                return one  # type: ignore[no-any-return]  # a pager of Any
        if self._clock() < certificate.not_valid_before_utc + _LISTED_WITHIN:
            raise self._calls.unavailable("ca.no-answer", f"{serial} is not in its list yet")
        raise BackendRejected(
            "ca.not-revoked", "the CA does not know this certificate", hint=f"serial {serial}"
        )

    async def _read(self, operation: str, request: Any) -> Any:
        """Return the answer of a call that changes nothing, or whose outcome is not at stake."""
        try:
            return await self._calls.call(operation, request)
        except (GoogleAPICallError, BackendUnavailable) as error:
            raise self._unsure(error) from error

    def _unsure(self, error: GoogleAPICallError | BackendUnavailable) -> BackendUnavailable:
        """Return the failure of a question: whatever it is, it is no word about an order."""
        known = self._calls.failure(error) if isinstance(error, GoogleAPICallError) else error
        message = "the CA can't be asked now"
        if isinstance(known, BackendRejected):
            return BackendUnavailable("ca.misconfigured", message, hint=known.hint)
        return BackendUnavailable(
            known.rule, message, hint=known.hint, retry_after=known.retry_after
        )

    def _certificate(self, pem: str) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(pem.encode())
        except ValueError as error:
            raise self._calls.unavailable(
                "ca.no-answer", "its answer holds no certificate"
            ) from error


class GoogleCasBackend:
    """Opens CA pools of Google's Certificate Authority Service."""

    settings_model = GoogleCasSettings

    def capabilities(self, settings: GoogleCasSettings) -> Capabilities:
        """Key, names and usages as ordered; serial number, begin and URLs are the service's own."""
        del settings
        return _CAPABILITIES

    def open(self, settings: GoogleCasSettings, context: BackendContext) -> GoogleCasAuthority:
        """See `Backend.open`."""
        return GoogleCasAuthority(settings, context.name, context.clock)


_CAPABILITIES = Capabilities(
    device_keys=frozenset({"RSA-2048", "RSA-3072", "RSA-4096", "EC-P256", "EC-P384"}),
    revokes=True,
    looks_up=True,
    repeats_for=_REPEATS_FOR,
    own=frozenset({"serial", "validity", "extensions"}),
    name_kinds=frozenset({"dns", "ip", "email", "uri"}),
)


def _is_revoked(certificate: cas.Certificate) -> bool:
    return "revocation_details" in certificate


_authority: type[CertificateAuthority] = GoogleCasAuthority
_looks_up: type[LooksUp] = GoogleCasAuthority
_revokes: type[Revokes] = GoogleCasAuthority
_backend: type[Backend] = GoogleCasBackend

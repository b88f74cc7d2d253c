"""AWS Private CA, through the SDK and its own chain of credentials.

The template decides what may be said. One with API passthrough takes subject and extensions from
the plan; any other takes the subject from the CSR and the extensions from itself, and what comes
back is compared all the same. URLs of the service's own revocation lists are its business.

An order is repeated with its idempotency token, which the service honours for five minutes. The SDK
itself never retries an order: its last answer would hide what became of the ones before.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    EndpointConnectionError,
    NoCredentialsError,
    PartialCredentialsError,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import Field

from backends.aws_plan import api_passthrough, written_by
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.chain import chain_above
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
    Revokes,
)
from est_server.ports.scalars import Duration, Strict

if TYPE_CHECKING:
    from est_server.ports.revocation import RevocationReason

BLANK = "arn:aws:acm-pca:::template/BlankEndEntityCertificate_APIPassthrough/V1"
_REPEATS_FOR = timedelta(minutes=5)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds, while a certificate is being made
_REASONS: dict[str, str] = {
    "unspecified": "UNSPECIFIED",
    "keyCompromise": "KEY_COMPROMISE",
    "cACompromise": "CERTIFICATE_AUTHORITY_COMPROMISE",
    "affiliationChanged": "AFFILIATION_CHANGED",
    "superseded": "SUPERSEDED",
    "cessationOfOperation": "CESSATION_OF_OPERATION",
    "privilegeWithdrawn": "PRIVILEGE_WITHDRAWN",
    "aACompromise": "A_A_COMPROMISE",
}
_BUSY = {"ThrottlingException", "TooManyRequestsException", "LimitExceededException"}
_VERDICTS = {"MalformedCSRException", "InvalidArgsException", "InvalidRequestException"}
_NOT_TAKEN = {
    "AccessDeniedException": "ca.forbidden",
    "UnrecognizedClientException": "ca.forbidden",
    "InvalidClientTokenId": "ca.forbidden",
    "SignatureDoesNotMatch": "ca.forbidden",
    "ExpiredTokenException": "ca.forbidden",
    "InvalidSignatureException": "ca.forbidden",
    "InvalidArnException": "ca.misconfigured",
    "ResourceNotFoundException": "ca.misconfigured",
    "InvalidStateException": "ca.unavailable",
}
"""Error codes with which the service says that it did nothing, and that the order is not why."""


class AwsPcaSettings(Strict):
    """Keys of a CA of AWS Private CA in server.yaml; credentials are the SDK's own business."""

    arn: str = Field(pattern=r"^arn:[a-z-]+:acm-pca:[a-z0-9-]+:[0-9]{12}:certificate-authority/.+$")
    template: str = Field(
        default=BLANK,
        pattern=r"^arn:[a-z-]+:acm-pca:::template/[A-Za-z0-9_]+/V[0-9]+$",
        description="of the certificates; without APIPassthrough it decides what is in them",
    )
    signing_algorithm: str = Field(
        default="SHA256WITHECDSA",
        pattern=r"^(SHA(256|384|512)WITH(ECDSA|RSA)|ML_DSA_(44|65|87)|SM3WITHSM2)$",
        description="has to fit the CA's key",
    )
    endpoint: str | None = Field(
        default=None, pattern=r"^https?://", description="absent: the region's; of a VPC endpoint"
    )
    profile: str | None = Field(default=None, description="of the SDK's configuration files")
    timeout: Duration = Field(
        default="20s", validate_default=True, description="until a certificate is there"
    )


class AwsPcaAuthority:
    """A `CertificateAuthority` that is a CA of AWS Private CA."""

    def __init__(self, settings: AwsPcaSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._open = AsyncExitStack()
        self._made: Any = None
        self._certificates: CaCertificates | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `AwsPcaBackend.capabilities`."""
        return _capabilities(self._settings)

    async def connect(self) -> None:
        """Ask for the CA's certificate; see `CertificateAuthority.connect`."""
        found = await self._ask("get_certificate_authority_certificate")
        issuer = x509.load_pem_x509_certificate(found["Certificate"].encode())
        chain = found.get("CertificateChain") or ""
        heap = x509.load_pem_x509_certificates(chain.encode()) if chain.strip() else []
        self._certificates = CaCertificates(issuer, chain_above(issuer, heap))

    def certificates(self) -> CaCertificates:
        """Return issuer and chain as they last were."""
        if self._certificates is None:
            raise RuntimeError("connect first")
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Order and fetch; see `CertificateAuthority.issue`."""
        try:
            async with asyncio.timeout(self._settings.timeout.total_seconds()):
                arn = await self._order(order)
                return await self._fetch(arn)
        except TimeoutError as error:
            raise self._unavailable("ca.no-answer", "it takes too long") from error

    async def _order(self, order: IssuanceOrder) -> str:
        plan, settings = order.plan, self._settings
        more = {"ApiPassthrough": api_passthrough(plan)} if "APIPass" in settings.template else {}
        found = await self._ask(
            "issue_certificate",
            Csr=_pem(order.csr),
            SigningAlgorithm=settings.signing_algorithm,
            TemplateArn=settings.template,
            Validity={"Type": "ABSOLUTE", "Value": int(plan.not_after.timestamp())},
            ValidityNotBefore={"Type": "ABSOLUTE", "Value": int(plan.not_before.timestamp())},
            IdempotencyToken=order.idempotency_token,
            **more,
        )
        arn: str = found["CertificateArn"]
        return arn

    async def _fetch(self, arn: str) -> x509.Certificate:
        """Return the certificate once it is made; until then the service says that it is not."""
        pause = _FIRST_PAUSE
        while True:
            try:
                found = await self._ask("get_certificate", CertificateArn=arn)
                return x509.load_pem_x509_certificate(found["Certificate"].encode())
            except _InProgress:
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except (BackendRejected, BackendUnavailable, ValueError) as error:
                # it took the order: whatever this says, the certificate may exist
                raise self._unavailable("ca.no-answer", f"{arn}: {error}") from error

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Revoke, which twice is as good as once; see `Revokes.revoke`."""
        serial = certificate.serial_number
        try:
            await self._ask(
                "revoke_certificate",
                # in the form of the service's own examples
                CertificateSerial=serial.to_bytes((serial.bit_length() + 7) // 8).hex(":").upper(),
                RevocationReason=_REASONS.get(reason, "UNSPECIFIED"),
            )
        except _AlreadyDone:
            return
        except _InProgress as error:
            raise self._unavailable("ca.busy", "it is revoking") from error
        except BackendUnavailable as error:
            if error.rule != "ca.misconfigured":
                raise
            raise BackendRejected(
                "ca.not-revoked", "the CA does not know this certificate", hint=error.hint
            ) from error

    async def health(self) -> Health:
        """Ask for the CA's state."""
        try:
            found = await self._ask("describe_certificate_authority")
        except (BackendUnavailable, BackendRejected) as error:
            return Health(ok=False, detail=error.hint or error.message)
        state = found["CertificateAuthority"].get("Status", "?")
        ok = state == "ACTIVE"
        then = "" if ok else ", and issues nothing until its administrator makes it ACTIVE"
        return Health(ok=ok, detail=f"{self._settings.arn} is {state}{then}")

    async def close(self) -> None:
        """Close the connections."""
        self._made = None
        await self._open.aclose()

    async def _client(self) -> Any:
        if self._made is None:
            settings = self._settings
            seconds = settings.timeout.total_seconds()
            session = get_session()
            if settings.profile is not None:
                session.set_config_variable("profile", settings.profile)
            self._made = await self._open.enter_async_context(
                session.create_client(
                    "acm-pca",
                    region_name=settings.arn.split(":")[3],
                    endpoint_url=settings.endpoint,
                    config=AioConfig(
                        retries={"total_max_attempts": 1},
                        connect_timeout=seconds,
                        read_timeout=seconds,
                        max_pool_connections=64,
                    ),
                )
            )
        return self._made

    async def _ask(self, operation: str, **arguments: Any) -> Any:
        """Return the service's answer about this CA.

        Raises:
            BackendRejected: ``ca.refused``: a verdict about the request.
            BackendUnavailable: anything else.
        """
        try:
            client = await self._client()
            return await getattr(client, operation)(
                CertificateAuthorityArn=self._settings.arn, **arguments
            )
        except ClientError as error:
            raise self._failure(error) from error
        except (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError) as error:
            raise self._unavailable("ca.login", str(error), nothing_issued=True) from error
        except (EndpointConnectionError, ConnectTimeoutError) as error:
            raise self._unavailable("ca.unreachable", str(error), nothing_issued=True) from error
        except (BotoCoreError, OSError, ValueError) as error:
            raise self._unavailable("ca.no-answer", f"{type(error).__name__}: {error}") from error

    def _failure(self, error: ClientError) -> Exception:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code == "RequestInProgressException":
            return _InProgress()
        if code == "RequestAlreadyProcessedException":
            return _AlreadyDone()
        if code in _VERDICTS:
            hint = f"CA {self._name}: {error}"
            return BackendRejected("ca.refused", "the CA refused the request", hint=hint)
        if code in _BUSY or status == 429:
            return self._unavailable("ca.busy", str(error), nothing_issued=True, retry_after=10)
        return self._unavailable(
            _NOT_TAKEN.get(code, "ca.unavailable"), str(error), nothing_issued=code in _NOT_TAKEN
        )

    def _unavailable(
        self, rule: str, detail: str, *, nothing_issued: bool = False, retry_after: int = 60
    ) -> BackendUnavailable:
        return BackendUnavailable(
            rule,
            "the CA can't be asked now" if nothing_issued else "the CA has not answered",
            hint=f"CA {self._name}: {detail}",
            retry_after=retry_after,
            nothing_issued=nothing_issued,
        )


class _InProgress(Exception):
    """The service is not done yet."""


class _AlreadyDone(Exception):
    """The service has done it before."""


class AwsPcaBackend:
    """Opens CAs of AWS Private CA."""

    settings_model = AwsPcaSettings

    def capabilities(self, settings: AwsPcaSettings) -> Capabilities:
        """Names and validity as ordered; serial number and the URLs of its lists are its own."""
        return _capabilities(settings)

    def open(self, settings: AwsPcaSettings, context: BackendContext) -> AwsPcaAuthority:
        """See `Backend.open`."""
        return AwsPcaAuthority(settings, context.name)


_KEYS = frozenset({"RSA-2048", "RSA-3072", "RSA-4096", "EC-P256", "EC-P384", "EC-P521"})


def _capabilities(settings: AwsPcaSettings) -> Capabilities:
    return Capabilities(
        device_keys=_KEYS,
        revokes=True,
        repeats_for=_REPEATS_FOR,
        forwards_csr=True,
        own=frozenset({"serial", "validity", "extensions"}),
        name_kinds=frozenset({"dns", "ip", "email", "uri"}),
        writes=written_by(settings.template),
        certificate_policies="APIPass" in settings.template,
    )


def _pem(csr: bytes) -> bytes:
    return x509.load_der_x509_csr(csr).public_bytes(Encoding.PEM)


_authority: type[CertificateAuthority] = AwsPcaAuthority
_revokes: type[Revokes] = AwsPcaAuthority
_backend: type[Backend] = AwsPcaBackend

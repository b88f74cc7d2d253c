"""Another EST server as the CA: this one is the registration authority in front of it (RFC 7030).

The device's CSR is forwarded unchanged; its signature and its binding to the device's TLS channel
are checked here, where that channel ends. The upstream sees this server's own certificate, whose
id-kp-cmcRA says that it vouches for the proof of possession (RFC 7030 3.7, RFC 6402 2.10). Every
order is a simpleenroll, renewals too: what a renewal may do is decided here.

Each look at the upstream's health asks for ``/cacerts``. What came from a server that the anchors
vouch for replaces what was known (RFC 7030 4.1.3), new roots become anchors of later connections,
and a file keeps them, so that a restart needs no upstream.

EST can't be asked what became of a request. An upstream that answers the same CSR with the same
certificate, as est-server does, has `idempotent_for` set; with any other a lost answer is parked.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.serialization import load_der_public_key
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates
from pydantic import Field, model_validator

from backends.issuers import issuing, keep
from backends.remote import ClientIdentity, Remote, read_certificates, tls_context
from est_server.errors import BackendRejected, BackendUnavailable, Pending
from est_server.pki.chain import is_self_signed
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
)
from est_server.ports.scalars import Duration, Strict
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography import x509

    from backends.remote import Answer

_WELL_KNOWN = "/.well-known/est"
_PENDING_FOR = 60
_REFUSED = frozenset({400, 403, 409, 422})
"""The upstream's verdict about this request."""
_NOT_ASKED = {
    401: "ca.forbidden",
    404: "ca.misconfigured",
    405: "ca.misconfigured",
    415: "ca.misconfigured",
    429: "ca.busy",
    501: "ca.misconfigured",
}
"""Answers that say nothing of this request, and that it was not taken."""


class Credential(Strict):
    """A user at the upstream (HTTP Basic, RFC 7030 3.2.3)."""

    username: str = Field(min_length=1, pattern=r"^[^:]+$")
    password: Secret


class EstUpstreamSettings(Strict):
    """Keys of an EST server as a CA in server.yaml."""

    url: str = Field(
        pattern=r"^https://[^/?#\s]+(/\.well-known/est(/[^/?#\s]+)?)?$",
        description="https://est.example.net:8443, with /.well-known/est/LABEL where it has labels",
    )
    trust: tuple[str, ...] = Field(
        min_length=1, description="PEM files of the anchors of its TLS certificate"
    )
    identity: ClientIdentity | None = Field(
        default=None, description="this server's certificate as registration authority (cmcRA)"
    )
    credential: Credential | None = None
    idempotent_for: Duration = Field(
        default="0s",
        validate_default=True,
        description="how long it answers the same CSR with the same certificate; est-server: the "
        "idempotency_window of its own server.yaml",
    )
    cacerts: str | None = Field(
        default=None, description="PEM file that keeps its CA certificates; absent: ca/NAME.cacerts"
    )
    timeout: Duration = Field(default="20s", validate_default=True)

    @model_validator(mode="after")
    def _somebody(self) -> EstUpstreamSettings:
        if self.identity is None and self.credential is None:
            raise ValueError("identity, credential or both are expected: the CA asks who is asking")
        return self


class EstUpstreamAuthority:
    """A `CertificateAuthority` that is an EST server."""

    def __init__(self, settings: EstUpstreamSettings, name: str, base: Path) -> None:
        self._settings = settings
        self._name = name
        self._base = base
        self._kept = base / (settings.cacerts or f"ca/{name}.cacerts")
        self._known = read_certificates(name, self._kept) if self._kept.exists() else ()
        self._remote = self._connection()
        self._before: list[Remote] = []
        self._certificates = issuing(self._known)

    def _connection(self) -> Remote:
        settings = self._settings
        anchors = [one for one in self._known if is_self_signed(one)]
        tls = tls_context(self._name, self._base, settings.trust, settings.identity, anchors)
        url = settings.url if _WELL_KNOWN in settings.url else settings.url + _WELL_KNOWN
        return Remote(self._name, url, tls, settings.timeout)

    @property
    def capabilities(self) -> Capabilities:
        """See `EstUpstreamBackend.capabilities`."""
        return _capabilities(self._settings)

    async def connect(self) -> None:
        """Ask for /cacerts; what a file kept of it will do as long as nobody answers."""
        try:
            await self._follow()
        except BackendUnavailable:
            if self._certificates is None:
                raise

    def certificates(self) -> CaCertificates:
        """Return issuer and chain as they last were."""
        if self._certificates is None:
            raise RuntimeError("connect first")
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Forward the CSR; see `CertificateAuthority.issue`."""
        headers = {
            "Content-Type": "application/pkcs10",
            "Content-Transfer-Encoding": "base64",
            **self._authorization(),
        }
        body = base64.encodebytes(order.csr)
        answer = await self._remote.send("POST", "/simpleenroll", headers=headers, body=body)
        if answer.status == 202:
            raise Pending(
                "ca.pending",
                "the CA has not decided yet",
                retry_after=answer.retry_after or _PENDING_FOR,
            )
        if answer.status != 200:
            raise self._failure(answer)
        found = read_certs_only(answer.body)
        own = [one for one in found if _has_key(one, order.plan.spki)]
        if not found:
            raise self._remote.unavailable("ca.no-answer", "its answer holds no certificate")
        return (own or found)[0]

    async def health(self) -> Health:
        """Follow /cacerts."""
        try:
            await self._follow()
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.hint or error.message)
        return Health(ok=True, detail=f"/cacerts has {len(self._known)} certificates")

    async def close(self) -> None:
        """Close the connections."""
        for remote in (*self._before, self._remote):
            await remote.close()

    async def _follow(self) -> None:
        """Take over what /cacerts says now; nothing that can't be read replaces what is known."""
        answer = await self._remote.send("GET", "/cacerts")
        if answer.status != 200:
            raise self._failure(answer)
        found = tuple(read_certs_only(answer.body))
        certificates = issuing(found)
        if certificates is None:
            raise self._remote.unavailable(
                "ca.issuer", "/cacerts holds no CA certificate that issues", nothing_issued=True
            )
        if set(found) == set(self._known):
            return
        keep(self._name, self._kept, found)
        self._known, self._certificates = found, certificates
        self._before.append(self._remote)  # orders may be under way on it
        self._remote = self._connection()

    def _authorization(self) -> dict[str, str]:
        credential = self._settings.credential
        if credential is None:
            return {}
        try:
            password = credential.password.read(self._base)
        except OSError as error:
            raise self._remote.unavailable(
                "ca.login", f"its password can't be read: {error}", nothing_issued=True
            ) from error
        pair = base64.b64encode(credential.username.encode() + b":" + password)
        return {"Authorization": f"Basic {pair.decode()}"}

    def _failure(self, answer: Answer) -> BackendRejected | BackendUnavailable:
        text = "".join(c for c in answer.body[:300].decode("utf-8", "replace") if c.isprintable())
        detail = f"status {answer.status}: {text}"
        if answer.status in _REFUSED:
            return BackendRejected(
                "ca.refused",
                "the CA refused the request",
                hint=f"CA {self._name} at {self._remote.url}: {detail}",
            )
        return self._remote.unavailable(
            _NOT_ASKED.get(answer.status, "ca.unavailable"),
            detail,
            nothing_issued=answer.status in _NOT_ASKED,
            retry_after=answer.retry_after or 60,
        )


class EstUpstreamBackend:
    """Opens EST servers as CAs."""

    settings_model = EstUpstreamSettings

    def capabilities(self, settings: EstUpstreamSettings) -> Capabilities:
        """The CSR is forwarded; the upstream decides what it does not say."""
        return _capabilities(settings)

    def open(self, settings: EstUpstreamSettings, context: BackendContext) -> EstUpstreamAuthority:
        """Read anchors, identity and what was kept; see `Backend.open`."""
        return EstUpstreamAuthority(settings, context.name, context.base)


def _capabilities(settings: EstUpstreamSettings) -> Capabilities:
    return Capabilities(
        repeats_for=settings.idempotent_for,
        may_wait=True,
        forwards_csr=True,
        own=frozenset({"serial", "validity", "extensions"}),
    )


def read_certs_only(body: bytes) -> list[x509.Certificate]:
    """Return the certificates of an EST answer (RFC 7030 4.1.3, 4.2.3); none if it is none."""
    try:
        der = base64.b64decode(b"".join(body.split()), validate=True)
        return load_der_pkcs7_certificates(der)
    except (binascii.Error, ValueError, TypeError):
        return []


def _has_key(certificate: x509.Certificate, spki: bytes) -> bool:
    try:
        return certificate.public_key() == load_der_public_key(spki)
    except ValueError:
        return False


_authority: type[CertificateAuthority] = EstUpstreamAuthority
_backend: type[Backend] = EstUpstreamBackend

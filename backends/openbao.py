"""A CA in OpenBao or HashiCorp Vault (PKI secrets engine), asked through its HTTP API.

The role decides what it signs: of a request it takes the common name, the subject's serialNumber,
the subjectAltNames and the end of validity; everything else of the subject and all usages are the
role's own. Whatever comes back is compared with the plan, so a role that adds to it is found at the
first certificate. The role needs ``use_csr_common_name=false`` and ``use_csr_sans=false``: names
come from the plan, never from the CSR.

The API has no idempotency key and tells nothing of an order whose answer was lost. Such a request
is parked for a person.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from pydantic import Field, model_validator

from backends.remote import Remote, tls_context
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
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from backends.remote import Answer
    from est_server.pki.plan import CertificatePlan
    from est_server.ports.revocation import RevocationReason

_NOT_TAKEN = ("is sealed", "not active", "not initialized")
"""What a 503 of the server itself says; one of a proxy says nothing of what became of the order."""
_DNS_OR_EMAIL = (x509.DNSName, x509.RFC822Name)
_SEGMENT = r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"


class AppRole(Strict):
    """Login of a machine by two secrets."""

    role_id: str
    secret_id: Secret
    mount: str = Field(default="approle", pattern=_SEGMENT)


class Kubernetes(Strict):
    """Login of a pod by its service account."""

    role: str
    token: Secret = Field(
        default=Secret("file", "/var/run/secrets/kubernetes.io/serviceaccount/token"),
        description="the service account's token, read again at each login",
    )
    mount: str = Field(default="kubernetes", pattern=_SEGMENT)


class Auth(Strict):
    """How this server shows who it is: exactly one of these."""

    token: Secret | None = Field(default=None, description="read again when it is refused")
    approle: AppRole | None = None
    kubernetes: Kubernetes | None = None

    @model_validator(mode="after")
    def _one(self) -> Auth:
        if sum(way is not None for way in (self.token, self.approle, self.kubernetes)) != 1:
            raise ValueError("exactly one of token, approle and kubernetes is expected")
        return self


class OpenBaoSettings(Strict):
    """Keys of a CA in OpenBao or Vault in server.yaml."""

    url: str = Field(pattern=r"^https?://[^/?#\s]+$", description="https://bao.example.net:8200")
    auth: Auth
    role: str = Field(pattern=_SEGMENT, description="of the PKI engine: POST MOUNT/sign/ROLE")
    mount: str = Field(default="pki", pattern=_SEGMENT, description="where the PKI engine is")
    issuer: str = Field(
        default="default", pattern=_SEGMENT, description="the issuer that the role uses"
    )
    namespace: str | None = Field(default=None, pattern=_SEGMENT)
    trust: tuple[str, ...] = Field(
        default=(), description="PEM files of the TLS anchors; absent: the system's"
    )
    timeout: Duration = Field(default="10s", validate_default=True)


class OpenBaoAuthority:
    """A `CertificateAuthority` that is a role of a PKI secrets engine."""

    def __init__(self, settings: OpenBaoSettings, remote: Remote, base: Path) -> None:
        self._settings = settings
        self._remote = remote
        self._base = base
        self._token: str | None = None
        self._certificates: CaCertificates | None = None

    @property
    def capabilities(self) -> Capabilities:
        """See `OpenBaoBackend.capabilities`."""
        return _CAPABILITIES

    async def connect(self) -> None:
        """Log in and learn the issuer; see `CertificateAuthority.connect`."""
        await self._login()
        await self._read_issuer()

    def certificates(self) -> CaCertificates:
        """Return issuer and chain as they last were."""
        if self._certificates is None:
            raise RuntimeError("connect first")
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Have the role sign; see `CertificateAuthority.issue`."""
        body = sign_request(order.plan, order.csr)
        path = f"{self._settings.mount}/sign/{quote(self._settings.role)}"
        answer = await self._authorised("POST", path, body)
        data = self._data(answer, "ca.refused", "the CA refused the request")
        found = _certificate(data.get("certificate"))
        if found is None:
            raise self._remote.unavailable("ca.no-answer", "its answer holds no certificate")
        return found

    async def revoke(self, certificate: x509.Certificate, reason: RevocationReason) -> None:
        """Revoke, which twice is as good as once; see `Revokes.revoke`.

        The engine keeps no reasons. The certificate itself is sent, so that a role with
        ``no_store`` can have its certificates revoked as well.
        """
        del reason
        pem = certificate.public_bytes(Encoding.PEM).decode()
        path = f"{self._settings.mount}/revoke"
        answer = await self._authorised("POST", path, {"certificate": pem})
        self._data(answer, "ca.not-revoked", "the CA does not revoke this certificate")

    async def health(self) -> Health:
        """Ask whether it is unsealed, the token is good and who issues."""
        try:
            await self._authorised("GET", "auth/token/lookup-self")
            await self._read_issuer()
        except (BackendUnavailable, BackendRejected) as error:
            return Health(ok=False, detail=error.hint or error.message)
        return Health(ok=True, detail=f"unsealed, token accepted, issuer {self._settings.issuer}")

    async def close(self) -> None:
        """Close the connections."""
        await self._remote.close()

    async def _read_issuer(self) -> None:
        path = f"{self._settings.mount}/issuer/{quote(self._settings.issuer)}/json"
        answer = await self._call("GET", path)
        data = self._data(answer, "ca.issuer", "the CA's certificate can't be had")
        chain = data.get("ca_chain")
        issuer = _certificate(data.get("certificate"))
        if issuer is None:
            raise self._remote.unavailable(
                "ca.issuer", f"{path}: no certificate", nothing_issued=True
            )
        above = [_certificate(text) for text in chain] if isinstance(chain, list) else []
        heap = [one for one in above if one is not None]
        self._certificates = CaCertificates(issuer, chain_above(issuer, heap))

    async def _login(self) -> None:
        """Get a token that the server accepts, as far as reading or asking for one goes."""
        auth = self._settings.auth
        try:
            if auth.token is not None:
                self._token = auth.token.read(self._base).decode("ascii")
                return
            if auth.approle is not None:
                mount = auth.approle.mount
                secret = auth.approle.secret_id.read(self._base).decode("ascii")
                body = {"role_id": auth.approle.role_id, "secret_id": secret}
            elif auth.kubernetes is not None:
                mount = auth.kubernetes.mount
                token = auth.kubernetes.token.read(self._base).decode("ascii")
                body = {"role": auth.kubernetes.role, "jwt": token}
        except (OSError, ValueError) as error:
            raise self._remote.unavailable(
                "ca.login", f"its secret can't be read: {error}", nothing_issued=True
            ) from error
        answer = await self._call("POST", f"auth/{mount}/login", body)
        given = _json(answer).get("auth") if answer.status == 200 else None
        got = given.get("client_token") if isinstance(given, dict) else None
        if not isinstance(got, str):
            raise self._remote.unavailable(
                "ca.login",
                f"login at auth/{mount} answers {answer.status}: {_errors(answer)}",
                nothing_issued=True,
            )
        self._token = got

    async def _authorised(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> Answer:
        """Ask with the token; a refused one is replaced once, since tokens end."""
        answer = await self._call(method, path, body)
        if answer.status == 403:
            await self._login()
            answer = await self._call(method, path, body)
        if answer.status == 403:
            detail = f"403 for {path}: the token is not good or its policy lacks it"
            raise self._remote.unavailable("ca.forbidden", detail, nothing_issued=True)
        return answer

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        headers = {"X-Vault-Request": "true", "Content-Type": "application/json"}
        if self._token is not None:
            headers["X-Vault-Token"] = self._token
        if self._settings.namespace is not None:
            headers["X-Vault-Namespace"] = self._settings.namespace
        text = None if body is None else json.dumps(body).encode()
        return await self._remote.send(method, f"/v1/{path}", headers=headers, body=text)

    def _data(self, answer: Answer, rule: str, message: str) -> Mapping[str, Any]:
        """Return the ``data`` of a good answer.

        Raises:
            BackendRejected: `rule`: the server's own verdict.
            BackendUnavailable: anything else.
        """
        status, errors = answer.status, _errors(answer)
        if status == 200:
            data = _json(answer).get("data")
            return data if isinstance(data, dict) else {}
        if status in {400, 404, 405}:
            raise BackendRejected(rule, message, hint=f"CA {self._remote.name}: {errors}")
        redirected = 300 <= status < 400
        sure = redirected or status == 429 or (status == 503 and _not_taken(errors))
        detail = "a standby that redirects: name the active node" if redirected else errors
        raise self._remote.unavailable(
            "ca.busy" if status == 429 else "ca.unavailable",
            f"status {status}: {detail}",
            nothing_issued=sure,
            retry_after=answer.retry_after or 30,
        )


class OpenBaoBackend:
    """Opens CAs in OpenBao and Vault."""

    settings_model = OpenBaoSettings

    def capabilities(self, settings: OpenBaoSettings) -> Capabilities:
        """Names and lifetime as ordered; serial number, usages and URLs are the role's own."""
        del settings
        return _CAPABILITIES

    def open(self, settings: OpenBaoSettings, context: BackendContext) -> OpenBaoAuthority:
        """Read the trust anchors; see `Backend.open`."""
        tls = tls_context(context.name, context.base, settings.trust)
        remote = Remote(context.name, settings.url, tls, settings.timeout)
        return OpenBaoAuthority(settings, remote, context.base)


_CAPABILITIES = Capabilities(
    device_keys=frozenset(
        {"RSA-2048", "RSA-3072", "RSA-4096", "EC-P256", "EC-P384", "EC-P521", "Ed25519"}
    ),
    revokes=True,
    forwards_csr=True,
    own=frozenset({"serial", "validity", "extensions"}),
    name_kinds=frozenset({"dns", "ip", "email", "uri"}),
    certificate_policies=False,
)


def sign_request(plan: CertificatePlan, csr: bytes) -> dict[str, Any]:
    """Return the body of ``POST /pki/sign/:role`` for a plan.

    Args:
        plan: of the certificate.
        csr: DER of the request; its key and signature are all that the role may take from it.

    Raises:
        BackendRejected: ``ca.plan``: the subject has several common names or serial numbers.
    """
    names = plan.subject_alternative_names
    dns_and_email = [one.value for one in names if isinstance(one, _DNS_OR_EMAIL)]
    addresses = [str(one.value) for one in names if isinstance(one, x509.IPAddress)]
    uris = [one.value for one in names if isinstance(one, x509.UniformResourceIdentifier)]
    lines = base64.encodebytes(csr).decode()
    return {
        "csr": f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n",
        "format": "pem",
        "common_name": _only(plan.subject, NameOID.COMMON_NAME),
        "serial_number": _only(plan.subject, NameOID.SERIAL_NUMBER),
        "exclude_cn_from_sans": True,
        "not_after": plan.not_after.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "alt_names": ",".join(dns_and_email),
        "ip_sans": addresses,
        "uri_sans": uris,
    }


def _only(subject: x509.Name, oid: x509.ObjectIdentifier) -> str:
    found = subject.get_attributes_for_oid(oid)
    if len(found) > 1:
        raise BackendRejected("ca.plan", "the CA takes one common name and one serial number")
    return str(found[0].value) if found else ""


def _certificate(pem: Any) -> x509.Certificate | None:
    try:
        return x509.load_pem_x509_certificate(pem.encode())
    except (AttributeError, ValueError):
        return None


def _json(answer: Answer) -> Mapping[str, Any]:
    try:
        read = json.loads(answer.body)
    except (ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _errors(answer: Answer) -> str:
    found = _json(answer).get("errors")
    texts = [str(text) for text in found] if isinstance(found, list) else []
    return "; ".join(texts)[:500] or f"status {answer.status}"


def _not_taken(errors: str) -> bool:
    return any(word in errors.lower() for word in _NOT_TAKEN)


_authority: type[CertificateAuthority] = OpenBaoAuthority
_revokes: type[Revokes] = OpenBaoAuthority
_backend: type[Backend] = OpenBaoBackend

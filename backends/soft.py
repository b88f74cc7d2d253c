"""The soft CA: a key in an encrypted file, signing in this process.

For a lab, a test, a small fleet. The key is on the server's disk, and whoever has the disk and the
passphrase has the CA. Signing happens on the event loop: it takes less time than handing the work
to a thread. The signature never leaves the process before `issue` returns, so reserving and
recording a certificate are one commit.
"""

from __future__ import annotations

import asyncio
import stat
from functools import lru_cache, partial
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field

from backends.soft_rollover import make_successor
from backends.soft_template import Rights, template
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.authority import signature_hash
from est_server.pki.signatures import sign_and_check, signature_algorithm
from est_server.ports.ca import (
    Backend,
    BackendContext,
    CaCertificates,
    Capabilities,
    CertificateAuthority,
    Health,
    IssuanceOrder,
    SignsTbs,
)
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

    from est_server.ports.rollover import Successor, SuccessorMaker, SuccessorOrder

_LARGE = 1 << 20
"""Octets beyond which hashing would hold up the event loop for milliseconds."""


class SoftSettings(BaseModel):
    """Keys of a soft CA in server.yaml; paths start at server.yaml's folder."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    certificate: str = Field(description="PEM file of the CA's certificate")
    key: Secret = Field(description="PKCS #8 key, encrypted: file:ca/issuing.key")
    passphrase: Secret = Field(description="of the key: file:… or env:…")
    chain: tuple[str, ...] = Field(
        default=(), description="PEM files above it, its issuer first, the root last"
    )


class SoftAuthority:
    """A `CertificateAuthority` whose key is in memory."""

    def __init__(self, key: CertificateIssuerPrivateKeyTypes, certificates: CaCertificates) -> None:
        self._key = key
        self._hash = signature_hash(key)
        self._algorithm = signature_algorithm(key)
        self._certificates = certificates
        # builders never change: what the plans of a profile have in common is built once
        self._template = lru_cache(maxsize=64)(partial(template, certificates.issuer))

    @property
    def capabilities(self) -> Capabilities:
        """Any device key; local; nothing leaves before `issue` returns; signs what it is given."""
        return _CAPABILITIES

    async def connect(self) -> None:
        """Everything was read when it was opened."""

    def certificates(self) -> CaCertificates:
        """Return issuer and chain."""
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Sign the certificate of `order.plan`; see `CertificateAuthority.issue`."""
        plan = order.plan
        issuer = self._certificates.issuer
        if plan.not_after > issuer.not_valid_after_utc:
            raise BackendRejected("ca.outlives", "the certificate would outlive its issuer")
        key = load_der_public_key(plan.spki)
        builder = (
            self._template(Rights.of(plan))
            .subject_name(plan.subject)
            .public_key(key)  # type: ignore[arg-type]  # a signature key: the plan's algorithm is one of ours
            .serial_number(order.serial_number)
            .not_valid_before(plan.not_before)
            .not_valid_after(plan.not_after)
            # RFC 5280 4.2.1.2 method 1: what devices and directories expect to compute
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)  # type: ignore[arg-type]  # as above
        )
        if plan.subject_alternative_names:
            # RFC 5280 4.2.1.6: critical when it is the only name
            san = x509.SubjectAlternativeName(plan.subject_alternative_names)
            builder = builder.add_extension(san, critical=not plan.subject.rdns)
        try:
            return builder.sign(self._key, self._hash)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BackendRejected("ca.plan", f"the certificate can't be built: {error}") from error

    @property
    def signature_algorithm(self) -> bytes:
        """DER AlgorithmIdentifier of this key's signatures; see `SignsTbs`."""
        return self._algorithm

    async def sign_tbs(self, tbs: bytes) -> bytes:
        """Sign and check; see `SignsTbs.sign_tbs`."""
        try:
            if len(tbs) < _LARGE:
                return sign_and_check(self._key, tbs)
            return await asyncio.to_thread(sign_and_check, self._key, tbs)
        except (InvalidSignature, ValueError) as error:
            raise BackendUnavailable("ca.signature", f"its signature failed: {error}") from error

    async def health(self) -> Health:
        """Sign a test text and check the signature."""
        try:
            await self.sign_tbs(b"est-server test signature")
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.message)
        return Health(ok=True, detail="test signature made and checked")

    async def close(self) -> None:
        """Nothing is open."""


class SoftBackend:
    """Opens soft CAs."""

    settings_model = SoftSettings

    def capabilities(self, settings: SoftSettings) -> Capabilities:  # noqa: ARG002 - the port's: they are the same for all
        """Return what every soft CA can do."""
        return _CAPABILITIES

    def open(self, settings: SoftSettings, context: BackendContext) -> SoftAuthority:
        """Read key, passphrase and certificates; see `Backend.open`."""
        base = context.base
        issuer = _certificate(context.name, base / settings.certificate)
        chain = tuple(_certificate(context.name, base / path) for path in settings.chain)
        key_path = settings.key.path(base)
        if key_path is not None and key_path.exists():
            mode = stat.S_IMODE(key_path.stat().st_mode)
            if mode & 0o077:
                raise _unusable(
                    context.name,
                    f"{settings.key.reference} is readable by others (mode {mode:04o})",
                    f"chmod 600 {key_path}",
                )
        try:
            key = load_pem_private_key(settings.key.read(base), settings.passphrase.read(base))
        except OSError as error:
            raise _unusable(context.name, f"its key can't be read: {error}", str(error)) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise _unusable(
                context.name,
                f"{settings.key.reference} is no encrypted PKCS #8 key under this passphrase",
                "check `key` and `passphrase`; a key that is not encrypted is refused",
            ) from error
        return SoftAuthority(_signing_key(context.name, key, issuer), CaCertificates(issuer, chain))

    def make_successor(
        self, settings: SoftSettings, context: BackendContext, order: SuccessorOrder
    ) -> Successor:
        """Make new keys and certificates; see `SuccessorMaker.make_successor`."""
        certificates = self.open(settings, context).certificates()
        root = PurePosixPath((settings.chain or (settings.certificate,))[-1])
        root_key = order.root_key or Secret("file", str(root.with_suffix(".key")))
        return make_successor(certificates, context.base, root_key, settings.passphrase, order)


def _signing_key(
    name: str, key: object, certificate: x509.Certificate
) -> CertificateIssuerPrivateKeyTypes:
    """Return `key` if it belongs to `certificate` and may sign certificates."""
    spki = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    public = key.public_key().public_bytes(*spki)  # type: ignore[attr-defined]  # every private key has one
    if public != certificate.public_key().public_bytes(*spki):
        raise _unusable(name, "its key and its certificate don't belong together", "check `key`")
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound as error:
        raise _unusable(name, "its certificate is no CA certificate", "check `certificate`") from (
            error
        )
    if not basic.ca or not usage.key_cert_sign:
        raise _unusable(name, "its certificate may not sign certificates", "check `certificate`")
    return key  # type: ignore[return-value]  # X25519 and the like can't be in a CA certificate that verifies


def _certificate(name: str, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as error:
        raise _unusable(name, f"{path.name} can't be read: {error.strerror}", str(error)) from error
    except ValueError as error:
        raise _unusable(name, f"{path.name} is no PEM certificate", f"check {path}") from error


def _unusable(name: str, message: str, hint: str) -> BackendUnavailable:
    return BackendUnavailable("ca.unusable", f"CA {name}: {message}", hint=hint)


_CAPABILITIES = Capabilities(local_key=True, holds_signature=True, signs_tbs=True)
_authority: type[CertificateAuthority] = SoftAuthority
_signs: type[SignsTbs] = SoftAuthority
_backend: type[Backend] = SoftBackend
_successor_maker: type[SuccessorMaker] = SoftBackend

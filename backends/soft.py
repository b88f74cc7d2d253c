"""The soft CA: a key in an encrypted file, signing in this process.

For a lab, a test, a small fleet. The key is on the server's disk, and whoever has the disk and the
passphrase has the CA. Signing happens on the event loop: it takes less time than handing the work
to a thread. The signature never leaves the process before `issue` returns, so reserving and
recording a certificate are one commit.
"""

from __future__ import annotations

import asyncio
import stat
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from pydantic import BaseModel, ConfigDict, Field

from backends.local import CertificateMaker, read_certificate, require_ca, unusable
from backends.soft_rollover import make_successor
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
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.types import (
        CertificateIssuerPrivateKeyTypes,
        PublicKeyTypes,
    )

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
        self._maker = CertificateMaker(certificates.issuer)

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
        builder = self._maker.builder(order)
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
        issuer = read_certificate(context.name, base / settings.certificate)
        chain = tuple(read_certificate(context.name, base / path) for path in settings.chain)
        key_path = settings.key.path(base)
        if key_path is not None and key_path.exists():
            mode = stat.S_IMODE(key_path.stat().st_mode)
            if mode & 0o077:
                raise unusable(
                    context.name,
                    f"{settings.key.reference} is readable by others (mode {mode:04o})",
                    f"chmod 600 {key_path}",
                )
        try:
            key = load_pem_private_key(settings.key.read(base), settings.passphrase.read(base))
        except OSError as error:
            raise unusable(context.name, f"its key can't be read: {error}", str(error)) from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise unusable(
                context.name,
                f"{settings.key.reference} is no encrypted PKCS #8 key under this passphrase",
                "check `key` and `passphrase`; a key that is not encrypted is refused",
            ) from error
        if _spki(key.public_key()) != _spki(issuer.public_key()):
            text = "its key and its certificate don't belong together"
            raise unusable(context.name, text, "check `key`")
        require_ca(context.name, issuer)
        # what can't sign is in no CA certificate that verifies
        return SoftAuthority(key, CaCertificates(issuer, chain))  # type: ignore[arg-type]  # as above

    def make_successor(
        self, settings: SoftSettings, context: BackendContext, order: SuccessorOrder
    ) -> Successor:
        """Make new keys and certificates; see `SuccessorMaker.make_successor`."""
        certificates = self.open(settings, context).certificates()
        root = PurePosixPath((settings.chain or (settings.certificate,))[-1])
        root_key = f"file:{root.with_suffix('.key')}"
        return make_successor(certificates, context.base, root_key, settings.passphrase, order)


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


_CAPABILITIES = Capabilities(local_key=True, holds_signature=True, signs_tbs=True)
_authority: type[CertificateAuthority] = SoftAuthority
_signs: type[SignsTbs] = SoftAuthority
_backend: type[Backend] = SoftBackend
_successor_maker: type[SuccessorMaker] = SoftBackend

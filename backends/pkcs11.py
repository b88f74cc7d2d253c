"""A CA whose key is in a token: an HSM, a smart card, a TPM, SoftHSM (PKCS #11 2.40).

The key never leaves the token and this server never loads its library: a process beside it does
(`backends.pkcs11_process`), which gets digests and gives signatures. A certificate is its contents
and a signature, and the contents never leave this process before `issue` returns. So nothing that
the token signed is of use to anybody if this process dies, and reserving and recording are one
commit, as for a soft CA: `docs/adr/0025-a-token-signs-in-a-process-of-its-own.md`.

A token that is away is no reason not to start: what was published before is still handed out, other
CAs still issue, and the first request after it is back is served.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
from contextlib import contextmanager
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import Field, model_validator

from backends.local import CertificateMaker, read_certificate, require_ca, unusable
from backends.pkcs11_keys import TokenPublicKey, built, hash_of, padding_of, token_key, verify
from backends.pkcs11_messages import Failed, Padding
from backends.pkcs11_opening import opening_of
from backends.pkcs11_rollover import make_successor
from backends.pkcs11_session import SignerUnavailableError
from backends.pkcs11_signer import Signer
from backends.pkcs11_store import TokenKeyStore, open_store
from backends.pkcs11_uri import Pkcs11Uri
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.signatures import signature_algorithm
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
from est_server.ports.scalars import Duration, Strict
from est_server.ports.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.keystore import KeptKey, MakesKeys
    from est_server.ports.rollover import Successor, SuccessorMaker, SuccessorOrder

if find_spec("pkcs11") is None:
    raise ImportError("python-pkcs11 is not installed")

_LARGE = 1 << 20
"""Octets beyond which hashing would hold up the event loop for milliseconds."""
_CURVES = ("secp256r1", "secp384r1")
_TEST = b"est-server test signature"
_CAPABILITIES = Capabilities(local_key=True, holds_signature=True, signs_tbs=True)


class Pkcs11Settings(Strict):
    """Keys of a PKCS #11 CA in server.yaml; paths start at server.yaml's folder."""

    certificate: str = Field(description="PEM file of the CA's certificate")
    chain: tuple[str, ...] = Field(
        default=(), description="PEM files above it, its issuer first, the root last"
    )
    key: Pkcs11Uri = Field(
        description="RFC 7512: pkcs11:token=LABEL;object=KEY?module-path=/usr/lib/….so"
    )
    pin: Secret = Field(description="of the token's user: file:… or env:…")
    rsa_padding: Padding = Field(
        default="PKCS1v15", description="of an RSA key's signatures: PKCS1v15, or PSS (RFC 4055)"
    )
    timeout: Duration = Field(
        default=timedelta(seconds=10),
        description="for the token to open, and for a signature; then it is taken to hang",
    )
    sessions: int = Field(
        default=1, ge=1, le=64, description="that sign at the same time, a process for each"
    )

    @model_validator(mode="before")
    @classmethod
    def _pin_source(cls, data: Any) -> Any:
        """Take the PIN from the URI's pin-source where there is no `pin` (RFC 7512 2.4)."""
        if isinstance(data, dict) and "pin" not in data and isinstance(data.get("key"), str):
            try:
                source = Pkcs11Uri.parse(data["key"]).pin_source
            except ValueError:
                return data  # the field says so
            return data if source is None else {**data, "pin": source}
        return data

    @model_validator(mode="after")
    def _whole(self) -> Pkcs11Settings:
        if not self.key.names_key:
            raise ValueError("key says which token, not which key: add object=LABEL or id=%XX…")
        if self.key.pin_source not in {None, self.pin}:
            raise ValueError("pin and the pin-source of key name two PINs: leave one out")
        return self


class Pkcs11Authority:
    """A `CertificateAuthority` whose key is in a token."""

    def __init__(
        self,
        name: str,
        public: TokenPublicKey,
        certificates: CaCertificates,
        signer: Signer,
        padding: Padding,
    ) -> None:
        self._name = name
        self._public = public
        self._certificates = certificates
        self._maker = CertificateMaker(certificates.issuer)
        self._signer = signer
        self._padding = padding
        self._hash = hash_of(public)
        self._builder_padding = padding_of(public, padding)
        self._algorithm = signature_algorithm(
            token_key(public, lambda _: b""), self._builder_padding
        )

    @property
    def capabilities(self) -> Capabilities:
        """Any device key; local; see the module about what is held; signs what it is given."""
        return _CAPABILITIES

    async def connect(self) -> None:
        """The certificates are in files: what the token does is seen by `health`."""

    def certificates(self) -> CaCertificates:
        """Return issuer and chain."""
        return self._certificates

    async def issue(self, order: IssuanceOrder) -> x509.Certificate:
        """Sign the certificate of `order.plan`; see `CertificateAuthority.issue`."""
        builder = self._maker.builder(order)
        try:
            return await built(
                lambda key: builder.sign(key, self._hash, rsa_padding=self._builder_padding),  # type: ignore[arg-type]  # one of the hashes that builders take
                self._public,
                self._signed,
            )
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise BackendRejected("ca.plan", f"the certificate can't be built: {error}") from error

    @property
    def signature_algorithm(self) -> bytes:
        """DER AlgorithmIdentifier of this key's signatures; see `SignsTbs`."""
        return self._algorithm

    async def sign_tbs(self, tbs: bytes) -> bytes:
        """Sign and check; see `SignsTbs.sign_tbs`. The token gets no more than the digest."""
        if len(tbs) < _LARGE:
            return await self._signed(self._digest(tbs))
        return await self._signed(await asyncio.to_thread(self._digest, tbs))

    async def health(self) -> Health:
        """Have a test text signed and check the signature, during a pause after failures too."""
        self._signer.hurry()
        try:
            await self.sign_tbs(_TEST)
            token = (await self._signer.opened()).token
        except BackendUnavailable as error:
            return Health(ok=False, detail=error.hint or error.message)
        except SignerUnavailableError as error:
            return Health(ok=False, detail=_text(error.failed))
        detail = f"test signature made by token {token} and checked, {self._signer.sessions} open"
        return Health(ok=True, detail=detail)

    async def close(self) -> None:
        """End the signing process."""
        await self._signer.close()

    def _digest(self, data: bytes) -> bytes:
        return hashlib.new(self._hash.name, data).digest()

    async def _signed(self, digest: bytes) -> bytes:
        """Return a signature that verifies.

        Raises:
            BackendUnavailable: ``ca.token``, ``ca.signature``.
        """
        try:
            signature = await self._signer.sign(digest)
        except SignerUnavailableError as error:
            raise BackendUnavailable(
                "ca.token",
                "the CA's token can't be used now",
                hint=f"CA {self._name}: {_text(error.failed)}",
                retry_after=math.ceil(error.retry_after),
                nothing_issued=True,
            ) from error
        try:
            verify(self._public, self._padding, signature, digest)
        except InvalidSignature as error:
            failed = Failed(
                "its key and its certificate don't belong together, or its token is broken",
                "check `key` and `certificate`: the signature that was made does not verify",
            )
            self._signer.distrust(failed)
            raise BackendUnavailable(
                "ca.signature",
                "the CA's signature failed",
                hint=f"CA {self._name}: {_text(failed)}",
                nothing_issued=True,
            ) from error
        return signature


class Pkcs11Backend:
    """Opens CAs in tokens."""

    settings_model = Pkcs11Settings

    def capabilities(self, settings: Pkcs11Settings) -> Capabilities:  # noqa: ARG002 - the port's: they are the same for all
        """Return what every CA in a token can do."""
        return _CAPABILITIES

    def open(self, settings: Pkcs11Settings, context: BackendContext) -> Pkcs11Authority:
        """Read the certificates; the token is opened with the first signature."""
        base = context.base
        issuer = read_certificate(context.name, base / settings.certificate)
        chain = tuple(read_certificate(context.name, base / path) for path in settings.chain)
        require_ca(context.name, issuer)
        public = issuer.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            if public.curve.name not in _CURVES:
                text = f"its curve {public.curve.name} is not used with tokens"
                raise unusable(context.name, text, "take P-256 or P-384")
            if settings.rsa_padding == "PSS":
                text = "its key is no RSA key, so there is nothing to pad"
                raise unusable(context.name, text, "leave `rsa_padding` out")
        elif not isinstance(public, rsa.RSAPublicKey):
            text = "its certificate's key is neither EC nor RSA"
            raise unusable(context.name, text, "take EC-P256, EC-P384 or RSA-2048 to RSA-4096")
        hidden = {settings.pin.name} if settings.pin.kind == "env" else set()
        signer = Signer(
            lambda: opening_of(
                settings.key,
                settings.pin,
                base,
                hash_name=hash_of(public).name,
                padding=settings.rsa_padding,
            ),
            settings.timeout.total_seconds(),
            frozenset(hidden),
            settings.sessions,
        )
        certificates = CaCertificates(issuer, chain)
        return Pkcs11Authority(context.name, public, certificates, signer, settings.rsa_padding)

    def key_store(
        self, location: str, pin: Secret, base: Path
    ) -> AbstractContextManager[TokenKeyStore]:
        """Open the token of an RFC 7512 URI; see `MakesKeys.key_store`."""
        return open_store(Pkcs11Uri.parse(location), pin, base)

    def make_successor(
        self, settings: Pkcs11Settings, context: BackendContext, order: SuccessorOrder
    ) -> Successor:
        """Make new keys in the token; see `SuccessorMaker.make_successor`."""
        certificates = self.open(settings, context).certificates()
        return make_successor(settings, certificates, context.base, order)

    @contextmanager
    def kept(self, settings: Pkcs11Settings, base: Path) -> Iterator[KeptKey]:
        """Open the key of a CA; see `MakesKeys.kept`."""
        with open_store(settings.key, settings.pin, base) as store:
            yield store.find(settings.key.object)


def _text(failed: Failed) -> str:
    return f"{failed.message}; {failed.hint}" if failed.hint else failed.message


_authority: type[CertificateAuthority] = Pkcs11Authority
_signs: type[SignsTbs] = Pkcs11Authority
_backend: type[Backend] = Pkcs11Backend
_makes_keys: type[MakesKeys] = Pkcs11Backend
_successor_maker: type[SuccessorMaker] = Pkcs11Backend

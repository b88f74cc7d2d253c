"""Keys made and used in a token by commands, which wait for each signature.

An event loop in a thread of its own does what the server's does, so that a command signs through
the same process, with the same limits of time, whether it has a loop itself or not.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import replace
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from backends.pkcs11_keys import token_key, verify
from backends.pkcs11_opening import opening_of
from backends.pkcs11_session import SignerUnavailableError
from backends.pkcs11_signer import Signer
from est_server.errors import BackendUnavailable
from est_server.ports.keystore import KeptKey

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator
    from pathlib import Path

    from backends.pkcs11_uri import Pkcs11Uri
    from est_server.ports.secret import Secret

ALGORITHMS = ("EC-P256", "EC-P384", "RSA-2048", "RSA-3072", "RSA-4096")
_SECONDS = 120.0
"""For a token to make a key: a smart card takes half a minute for RSA-4096."""
_RSA_HASH = "sha256"
"""What RSA keys sign (`est_server.pki.authority.signature_hash`); EC keys sign any digest."""
Result = TypeVar("Result")


class TokenKeyStore:
    """A `KeyStore` over one token."""

    def __init__(self, uri: Pkcs11Uri, pin: Secret, base: Path, loop: Any) -> None:
        self._uri = uri
        self._pin = pin
        self._base = base
        self._loop = loop
        self.signers: list[Signer] = []

    def generate(self, label: str, algorithm: str, *, lasting: bool = True) -> KeptKey:
        """Make a key; see `KeyStore.generate`.

        Args:
            label: its name.
            algorithm: of it.
            lasting: False for one that is gone when the store closes (a session object of the
                token's; not every token has them).
        """
        if algorithm not in ALGORITHMS:
            names = ", ".join(ALGORITHMS)
            raise BackendUnavailable(
                "ca.token", f"no {algorithm} key is made in tokens", hint=f"known: {names}"
            )
        return self._kept(label, algorithm, lasting=lasting)

    def find(self, label: str | None) -> KeptKey:
        """Return a key; see `KeyStore.find`."""
        return self._kept(label, None)

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Return what `work` returns in the store's own loop.

        Raises:
            BackendUnavailable: ``ca.token``.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except SignerUnavailableError as error:
            failed = error.failed
            raise BackendUnavailable("ca.token", failed.message, hint=failed.hint) from error

    def _kept(self, label: str | None, generate: str | None, *, lasting: bool = True) -> KeptKey:
        uri = replace(self._uri, object=label)
        to_make = [generate]
        # one process makes the key and signs: some tokens serve one at a time
        signer = Signer(
            lambda: opening_of(
                uri,
                self._pin,
                self._base,
                hash_name=_RSA_HASH,
                generate=to_make[-1],
                lasting=lasting,
            ),
            _SECONDS,
        )
        self.signers.append(signer)
        opened = self.run(signer.opened())
        to_make.append(None)  # the next process, if there has to be one, finds it
        if opened.spki is None:
            text = f"token {opened.token} has no public key beside {label!r}"
            raise BackendUnavailable("ca.token", text, hint="import it with the same label and id")
        public = load_der_public_key(bytes.fromhex(opened.spki))
        if not isinstance(public, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
            text = f"key {label!r} in token {opened.token} is neither EC nor RSA"
            raise BackendUnavailable("ca.token", text, hint=f"known: {', '.join(ALGORITHMS)}")

        def sign(digest: bytes) -> bytes:
            signature = self.run(signer.sign(digest))
            try:
                verify(public, "PKCS1v15", signature, digest)
            except InvalidSignature as error:
                text = f"what key {label!r} in token {opened.token} signs does not verify"
                raise BackendUnavailable(
                    "ca.signature", text, hint="make another key in another token"
                ) from error
            return signature

        settings = {"key": str(replace(uri, pin_source=None)), "pin": self._pin.reference}
        return KeptKey(token_key(public, sign), settings)


@contextmanager
def open_store(uri: Pkcs11Uri, pin: Secret, base: Path) -> Iterator[TokenKeyStore]:
    """Open a token until the block ends; its processes end with the block."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, name="pkcs11-store", daemon=True)
    thread.start()
    store = TokenKeyStore(uri, pin, base, loop)
    try:
        yield store
    finally:
        for signer in store.signers:
            store.run(signer.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

"""Private keys that are elsewhere, in the form that cryptography's builders take.

A builder signs in one call and can't wait for another process. So a structure is built twice: the
first time the key only keeps the digest of what is to be signed, the second time it hands over the
signature that was made of that digest meanwhile. What is encoded stays the library's work.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS, PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from est_server.pki.authority import signature_hash

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import AsymmetricPadding

    from backends.pkcs11_messages import Padding

    Sign = Callable[[bytes], bytes]
    """Returns the signature over a digest."""

Built = TypeVar("Built")
TokenPublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class TokenEcKey(ec.EllipticCurvePrivateKey):
    """An EC key of which only the public half is here."""

    def __init__(self, public: ec.EllipticCurvePublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign through `Sign`."""
        return self._sign(_digest(self, data, signature_algorithm.algorithm))

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Return the public half."""
        return self._public

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return self._public.curve

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.key_size

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Refuse."""
        _refuse(algorithm, peer_public_key)

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        _refuse()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002 - the base's name
        """Refuse."""
        _refuse(encoding, format, encryption_algorithm)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class TokenRsaKey(rsa.RSAPrivateKey):
    """An RSA key of which only the public half is here."""

    def __init__(self, public: rsa.RSAPublicKey, sign: Sign) -> None:
        self._public = public
        self._sign = sign

    def sign(self, data: Any, padding: AsymmetricPadding, algorithm: Any) -> bytes:  # noqa: ARG002 - whoever made `Sign` knows the padding
        """Sign through `Sign`."""
        return self._sign(_digest(self, data, algorithm))

    def public_key(self) -> rsa.RSAPublicKey:
        """Return the public half."""
        return self._public

    @property
    def key_size(self) -> int:
        """Bits."""
        return self._public.key_size

    def decrypt(self, ciphertext: bytes, padding: AsymmetricPadding) -> NoReturn:
        """Refuse."""
        _refuse(ciphertext, padding)

    def private_numbers(self) -> NoReturn:
        """Refuse."""
        _refuse()

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:  # noqa: A002 - the base's name
        """Refuse."""
        _refuse(encoding, format, encryption_algorithm)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


def token_key(public: TokenPublicKey, sign: Sign) -> TokenEcKey | TokenRsaKey:
    """Return the private half of `public`; `sign` makes its signatures."""
    if isinstance(public, rsa.RSAPublicKey):
        return TokenRsaKey(public, sign)
    return TokenEcKey(public, sign)


def hash_of(public: TokenPublicKey) -> hashes.HashAlgorithm:
    """Return the hash of this key's signatures."""
    found = signature_hash(token_key(public, bytes))
    if found is None:
        raise TypeError("neither an EC nor an RSA key")
    return found


def padding_of(public: TokenPublicKey, padding: Padding) -> PKCS1v15 | PSS | None:
    """Return the padding of an RSA key's signatures; None for any other key.

    PSS as RFC 4055 3.1 recommends: the mask's hash is the signature's, the salt is as long.
    """
    if not isinstance(public, rsa.RSAPublicKey):
        return None
    if padding == "PKCS1v15":
        return PKCS1v15()
    algorithm = hash_of(public)
    return PSS(mgf=MGF1(algorithm), salt_length=algorithm.digest_size)


def verify(public: TokenPublicKey, padding: Padding, signature: bytes, digest: bytes) -> None:
    """Return if `signature` is one over `digest`.

    Raises:
        InvalidSignature: it is none.
    """
    hashed = Prehashed(hash_of(public))
    if isinstance(public, rsa.RSAPublicKey):
        chosen = padding_of(public, padding) or PKCS1v15()
        public.verify(signature, digest, chosen, hashed)
    else:
        public.verify(signature, digest, ec.ECDSA(hashed))


async def built(
    build: Callable[[TokenEcKey | TokenRsaKey], Built],
    public: TokenPublicKey,
    sign: Callable[[bytes], Awaitable[bytes]],
) -> Built:
    """Return what `build` makes with the private half of `public`.

    Args:
        build: called twice; must encode the same both times.
        public: the public half.
        sign: makes the signature over a digest.
    """
    wanted: list[bytes] = []

    def keep(digest: bytes) -> bytes:
        wanted.append(digest)
        return b""

    build(token_key(public, keep))
    (digest,) = wanted
    signature = await sign(digest)

    def give(again: bytes) -> bytes:
        if again != digest:
            raise ValueError("the second encoding is another than the first")
        return signature

    return build(token_key(public, give))


def _digest(
    key: TokenEcKey | TokenRsaKey, data: Any, algorithm: hashes.HashAlgorithm | Prehashed
) -> bytes:
    wanted = hash_of(key.public_key())
    if isinstance(algorithm, Prehashed):
        return bytes(data)
    if algorithm.name != wanted.name:
        raise ValueError(f"this key signs {wanted.name} only")
    return hashlib.new(wanted.name, data).digest()


def _refuse(*_: Any) -> NoReturn:
    raise ValueError("this key never leaves its token and does nothing but sign")

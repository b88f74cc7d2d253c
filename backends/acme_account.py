"""Who asks an ACME server: a key, and what binds it to a customer (RFC 8555 7.3)."""

from __future__ import annotations

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from josepy.jwa import ES256, ES384, ES512, RS256, JWASignature
from josepy.jwk import JWK, JWKEC, JWKRSA
from josepy.util import ComparableRSAKey

_CURVES = {"secp256r1": ES256, "secp384r1": ES384, "secp521r1": ES512}


@dataclass(frozen=True, slots=True)
class Signer:
    """The account's key and how it signs."""

    key: JWK = field(repr=False)
    algorithm: JWASignature

    @classmethod
    def read(cls, pem: bytes) -> Signer:
        """Read a key: P-256, P-384, P-521 or RSA.

        Raises:
            ValueError: it is none, or encrypted.
        """
        try:
            key = load_pem_private_key(pem, None)
        except TypeError as error:
            raise ValueError("the key is encrypted") from error
        if isinstance(key, EllipticCurvePrivateKey) and key.curve.name in _CURVES:
            return cls(JWKEC(key=key), _CURVES[key.curve.name])
        if isinstance(key, RSAPrivateKey):
            return cls(JWKRSA(key=ComparableRSAKey(key)), RS256)
        raise ValueError("neither an EC nor an RSA key")


@dataclass(frozen=True, slots=True)
class Account:
    """Who asks; the account is found by its key, and opened where there is none.

    Attributes:
        signer: its key.
        contact: ``mailto:`` URLs.
        terms_of_service_agreed: by the operator.
        external: key identifier and base64url MAC key that the CA gave (RFC 8555 7.3.4).
    """

    signer: Signer
    contact: tuple[str, ...]
    terms_of_service_agreed: bool
    external: tuple[str, str] | None = field(repr=False)

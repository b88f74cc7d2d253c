"""The key that a token's claims are about: ``cnf`` (RFC 7800, RFC 8747)."""

from __future__ import annotations

from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire.jws import base64url

_COSE_CURVES: dict[Any, ec.EllipticCurve] = {
    1: ec.SECP256R1(), 2: ec.SECP384R1(), 3: ec.SECP521R1(),
}  # fmt: skip
_JOSE_CURVES: dict[Any, ec.EllipticCurve] = {
    "P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1(),
}  # fmt: skip
_EC2 = 2


def confirmed_spki(cnf: dict[Any, Any]) -> bytes:
    """Return DER SubjectPublicKeyInfo of the EC key in a ``cnf`` claim.

    Args:
        cnf: ``{1: COSE_Key}`` or ``{"jwk": JWK}``.

    Raises:
        Malformed: ``eat.cnf-format``.
    """
    try:
        if "jwk" in cnf:
            key = cnf["jwk"]
            curve = _JOSE_CURVES[key["crv"]] if key["kty"] == "EC" else None
            x, y = base64url(key["x"]), base64url(key["y"])
        else:
            key = cnf[1]
            curve = _COSE_CURVES[key[-1]] if key[1] == _EC2 else None
            x, y = key[-2], key[-3]
        if curve is None or not isinstance(x, bytes) or not isinstance(y, bytes):
            raise ValueError("not an EC key")  # noqa: TRY301 - one way out for all of it
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(x, "big"), int.from_bytes(y, "big"), curve
        )
        public = numbers.public_key()
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise Malformed("eat.cnf-format", "cnf holds no EC key") from error
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

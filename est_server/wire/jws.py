"""JWS in its compact form (RFC 7515 3.1), and what its header may say.

`joserfc` verifies; which algorithm follows from the key that is trusted, never from the header
(RFC 8725 3.1). A header that brings a key of its own, or says where to fetch one, is refused.
"""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire.strict_json import read_json

if TYPE_CHECKING:
    from types import ModuleType

    from cryptography.hazmat.primitives.asymmetric import ec

MOST_OCTETS = 48 * 1024
_ALGORITHMS = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_HEADER = frozenset({"alg", "kid", "typ", "cty"})


class Jws:
    """A signed payload that is not verified yet.

    Attributes:
        payload: the JSON object that is signed.
        kind: ``typ``; empty without.
    """

    __slots__ = ("_algorithm", "_text", "kind", "payload")

    def __init__(self, text: str, header: dict[str, Any], payload: dict[str, Any]) -> None:
        self._text = text
        self._algorithm = header["alg"]
        self.kind = header.get("typ", "")
        self.payload = payload

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Check the signature.

        Raises:
            Malformed: ``jws.algorithm`` if the key makes no such signatures; ``jws.signature``.
        """
        if key.curve.name != _ALGORITHMS[self._algorithm]:
            raise Malformed("jws.algorithm", f"a key of {key.curve.name} makes no such signature")
        jws, ec_key, failure = _library()
        pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        try:
            jws.deserialize_compact(
                self._text, ec_key.import_key(pem), algorithms=[self._algorithm]
            )
        except (failure, ValueError, TypeError) as error:
            raise Malformed("jws.signature", "the key did not sign this") from error


def parse_jws(data: bytes) -> Jws:
    """Read a compact JWS whose payload is a JSON object.

    Raises:
        Malformed: ``jws.too-large``, ``jws.structure``, ``jws.header``, ``jws.algorithm``.
    """
    if len(data) > MOST_OCTETS:
        raise Malformed("jws.too-large", f"more than {MOST_OCTETS} octets")
    try:
        text = data.decode("ascii")
        first, second, _ = text.split(".")
    except ValueError as error:
        raise Malformed("jws.structure", "a JWS has three parts") from error
    header, payload = _object(first), _object(second)
    if header.keys() - _HEADER:
        found = ", ".join(sorted(header.keys() - _HEADER))
        raise Malformed("jws.header", f"the header says what is not believed: {found[:100]}")
    if not isinstance(header.get("alg"), str) or header["alg"] not in _ALGORITHMS:
        raise Malformed("jws.algorithm", "the header names no signature that counts")
    if not all(isinstance(value, str) for value in header.values()):
        raise Malformed("jws.header", "the header's members are texts")
    return Jws(text, header, payload)


def base64url(text: object) -> bytes:
    """Return the octets of base64url without padding.

    Raises:
        ValueError: it is something else.
    """
    if not isinstance(text, str) or "=" in text or not text.isascii():
        raise ValueError("not base64url without padding")
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _object(part: str) -> dict[str, Any]:
    try:
        found = read_json(base64url(part))
    except ValueError as error:
        raise Malformed("jws.structure", "a part is no JSON in base64url") from error
    if not isinstance(found, dict):
        raise Malformed("jws.structure", "a part is no JSON object")
    return found


@cache
def _library() -> tuple[ModuleType, Any, type[Exception]]:
    try:
        from joserfc import jws  # noqa: PLC0415 - an extra
        from joserfc.errors import JoseError  # noqa: PLC0415
        from joserfc.jwk import ECKey  # noqa: PLC0415
    except ImportError as error:
        raise RuntimeError(
            "JSON tokens need more: pip install 'est-server[attestation]'"
        ) from error
    return jws, ECKey, JoseError

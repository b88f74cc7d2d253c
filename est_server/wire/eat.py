"""Claims of an Entity Attestation Token (RFC 9711), as CWT or JWT; PSA tokens (RFC 9783).

    statement ::= CHOICE {
        OCTET STRING,                                 -- the token
        SEQUENCE { token OCTET STRING, nonce OCTET STRING } }

A CWT is a COSE_Sign1, which begins with its tag; anything else is read as a JWT. A token of the
second form has SHA-256(nonce, SubjectPublicKeyInfo of the CSR) in its eat_nonce: formats without a
claim for a key bind one that way. The server can't find its nonce in that, so it stands beside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from est_server.errors import Malformed
from est_server.wire import cbor
from est_server.wire.cose import Sign1, parse_sign1
from est_server.wire.der import OCTET_STRING, content_of, octet_strings
from est_server.wire.jws import Jws, base64url, parse_jws

if TYPE_CHECKING:
    from collections.abc import Mapping

_TAG_18 = 0xD2
_NAMES = {
    1: "iss", 2: "sub", 6: "iat", 8: "cnf", 10: "eat_nonce", 256: "ueid", 257: "sueids",
    258: "oemid", 259: "hwmodel", 260: "hwversion", 261: "uptime", 262: "oemboot", 263: "dbgstat",
    265: "eat_profile", 266: "submods", 267: "bootcount", 268: "bootseed", 270: "swname",
    271: "swversion", 272: "manifests", 273: "measurements", 274: "measres", 275: "intuse",
    2394: "psa-client-id", 2395: "psa-security-lifecycle", 2396: "psa-implementation-id",
    2397: "psa-boot-seed", 2398: "psa-certification-reference",
    2399: "psa-software-components", 2400: "psa-verification-service-indicator",
}  # fmt: skip
_OCTETS = ("eat_nonce", "ueid", "oemid", "hwmodel", "bootseed")
_DEBUG = (
    "enabled", "disabled", "disabled-since-boot", "disabled-permanently",
    "disabled-fully-and-permanently",
)  # fmt: skip
_COMPONENT = {1: "type", 2: "value", 4: "version", 5: "signer", 6: "algorithm"}
_MOST_CLAIMS = 64


@dataclass(frozen=True, slots=True)
class Eat:
    """A token that is not verified yet.

    Attributes:
        signed: what verifies it.
        claims: by the names that JSON has for them; octets are octets in both forms.
        nonce: what stands beside the token; None without.
    """

    signed: Sign1 | Jws
    claims: Mapping[str, Any]
    nonce: bytes | None


def parse_statement(der: bytes) -> Eat:
    """Read a statement.

    Raises:
        Malformed: ``eat.statement``, ``eat.claims``, ``cbor.…``, ``cose.…``, ``jws.…``.
    """
    token, nonce = _token(der)
    if token[:1] == bytes([_TAG_18]) or not token[:1].isalpha():
        signed = parse_sign1(token)
        claims = _from_cbor(cbor.decode(signed.payload))
        return Eat(signed, _checked(claims), nonce)
    jws = parse_jws(token)
    return Eat(jws, _checked(_from_json(jws.payload)), nonce)


def _token(der: bytes) -> tuple[bytes, bytes | None]:
    try:
        if der[:1] == bytes([OCTET_STRING]):
            return content_of(der, OCTET_STRING), None
        token, nonce = octet_strings(der, 2)
    except ValueError as error:
        raise Malformed("eat.statement", f"no token, or token and nonce: {error}") from error
    return token, nonce


def _from_cbor(content: Any) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise Malformed("eat.claims", "the claims are no map")
    claims: dict[str, Any] = {}
    for key, value in content.items():
        name = _NAMES.get(key, str(key)) if type(key) is int else key
        if not isinstance(name, str) or name in claims:
            raise Malformed("eat.claims", "a claim's name is a number or a text, once")
        claims[name] = value
    return claims


def _from_json(content: dict[str, Any]) -> dict[str, Any]:
    claims = dict(content)
    try:
        for name in _OCTETS:
            if isinstance(claims.get(name), str):
                claims[name] = base64url(claims[name])
    except ValueError as error:
        raise Malformed("eat.claims", f"{name} is no base64url") from error
    if claims.get("dbgstat") in _DEBUG:
        claims["dbgstat"] = _DEBUG.index(claims["dbgstat"])
    return claims


def _checked(claims: dict[str, Any]) -> dict[str, Any]:
    """Refuse claims of another type than their verifier reads them with."""
    if len(claims) > _MOST_CLAIMS:
        raise Malformed("eat.claims", f"more than {_MOST_CLAIMS} claims")
    for name, kind in (("ueid", bytes), ("eat_profile", str), ("dbgstat", int), ("cnf", dict)):
        if name in claims and type(claims[name]) is not kind:
            raise Malformed("eat.claims", f"{name} is of another type")
    if "iat" in claims and type(claims["iat"]) not in {int, float}:
        raise Malformed("eat.claims", "iat is no number")
    if "psa-software-components" in claims:
        claims["psa-software-components"] = _components(claims["psa-software-components"])
    return claims


def _components(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Malformed("eat.claims", "software components are a list of maps")
    return [{_COMPONENT.get(key, str(key)): value for key, value in one.items()} for one in found]

"""Tokens as devices make them, well or badly."""

from __future__ import annotations

import base64
import json
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes, hmac
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.wire.der import header

ES256 = {1: -7}
PSA_PROFILE = "tag:psacertified.org,2023:psa#tfm"


def der(tag: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return header(tag, len(content)) + content


def statement(token: bytes, nonce: bytes | None = None) -> bytes:
    """Return a statement with a token, and a nonce beside it."""
    if nonce is None:
        return der(4, token)
    return der(0x30, der(4, token), der(4, nonce))


def raw_signature(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def cose(
    key: ec.EllipticCurvePrivateKey,
    payload: Any,
    protected: Any = ES256,
    unprotected: Any = None,
    tag: int | None = 18,
) -> bytes:
    """Return a COSE_Sign1, or something like it."""
    body = payload if isinstance(payload, bytes) else cbor2.dumps(payload)
    head = cbor2.dumps(protected) if protected else b""
    signature = raw_signature(key, cbor2.dumps(["Signature1", head, b"", body]))
    parts = [head, unprotected or {}, body, signature]
    return cbor2.dumps(parts if tag is None else cbor2.CBORTag(tag, parts))


def text(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def jws(key: ec.EllipticCurvePrivateKey, claims: dict[str, Any], **head: Any) -> bytes:
    """Return a JWS by ES256; `head` adds to its header or changes it."""
    found = {"alg": "ES256", "typ": "eat+jwt", **head}
    signed = f"{text(json.dumps(found).encode())}.{text(json.dumps(claims).encode())}".encode()
    return signed + b"." + text(raw_signature(key, signed)).encode()


def jws_hmac(secret: bytes, claims: dict[str, Any]) -> bytes:
    """Return a JWS by HS256."""
    found = {"alg": "HS256", "typ": "eat+jwt"}
    signed = f"{text(json.dumps(found).encode())}.{text(json.dumps(claims).encode())}".encode()
    mac = hmac.HMAC(secret, hashes.SHA256())
    mac.update(signed)
    return signed + b"." + text(mac.finalize()).encode()


def pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def cose_key(key: ec.EllipticCurvePrivateKey) -> dict[int, Any]:
    numbers = key.public_key().public_numbers()
    return {1: 2, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}


def jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    numbers = key.public_key().public_numbers()
    x, y = (text(number.to_bytes(32, "big")) for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}

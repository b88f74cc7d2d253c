"""Devices as tests have them: requests, sessions, answers."""

from __future__ import annotations

import base64
import ssl
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import NameOID

PKCS10 = {"Content-Type": "application/pkcs10"}


def csr(name: str = "device", key: Any = None, *names: str) -> bytes:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(found) for found in names])
        builder = builder.add_extension(san, critical=False)
    algorithm = hashes.SHA256() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    return base64.b64encode(builder.sign(key, algorithm).public_bytes(Encoding.DER))


def authorization(credentials):
    if credentials is None:
        return {}
    return {"Authorization": aiohttp.encode_basic_auth(*credentials)}


def session(server, credentials=None):
    trust = ssl.create_default_context(cafile=server.root)
    connector = aiohttp.TCPConnector(ssl=trust, limit=0)
    return aiohttp.ClientSession(connector=connector, headers=authorization(credentials))


async def post(client, server, body, path="simpleenroll", **headers):
    async with client.post(f"{server.url}/{path}", data=body, headers={**PKCS10, **headers}) as got:
        return got.status, await got.read(), got.headers


def issued(body: bytes) -> x509.Certificate:
    [certificate] = pkcs7.load_der_pkcs7_certificates(base64.b64decode(body))
    return certificate

"""Certificates and keys of signers and recipients, made once."""

import datetime as dt
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from est_server.wire.cms_enveloped import (
    SIGNED_DATA,
    envelope,
    key_agreement,
    key_encryption,
    key_transport,
)
from est_server.wire.cms_signed import KEY_PACKAGE, Signer, key_package, sign_content

CURVES = {"EC-P256": ec.SECP256R1(), "EC-P384": ec.SECP384R1(), "EC-P521": ec.SECP521R1()}
VECTOR = bytes(range(16))


@cache
def private_key(kind):
    if kind.startswith("RSA-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(CURVES[kind])


@cache
def certificate(kind, common_name="holder"):
    key = private_key(kind)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        .not_valid_after(dt.datetime(2049, 1, 1, tzinfo=dt.UTC))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return builder.sign(key, None if kind == "Ed25519" else hashes.SHA256())


@cache
def signer(kind="EC-P256"):
    return Signer(certificate(kind, "signer"), private_key(kind))


@cache
def private_key_info(kind="EC-P256"):
    return private_key(kind).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@cache
def signed(kind="EC-P256"):
    return sign_content(key_package(private_key_info()), KEY_PACKAGE, signer(kind))


def recipient(kind, content_key, *, transport="pkcs1", kdf="sha256", wrap=16, kek=b""):
    if kind == "kekri":
        return key_encryption(b"key-1", kek, content_key)
    if kind.startswith("RSA"):
        return key_transport(certificate(kind), transport, content_key)
    ephemeral = ec.generate_private_key(CURVES[kind])
    return key_agreement(certificate(kind), ephemeral, kdf, wrap, content_key)


def enveloped(kind, content=None, octets=32, **how):
    key = bytes(range(octets))
    content = signed() if content is None else content
    return envelope(content, SIGNED_DATA, recipient(kind, key, **how), key, VECTOR)

"""What our client takes for the answer to serverkeygen, and what it refuses."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from est_server.cli.client_keygen import Protection, make_request, read_answer
from est_server.errors import Malformed
from est_server.wire.cms import certs_only
from est_server.wire.cms_enveloped import SIGNED_DATA, envelope, key_encryption
from est_server.wire.cms_signed import KEY_PACKAGE, Signer, key_package, sign_content
from est_server.wire.key_protection import DECRYPT_KEY_IDENTIFIER, encode_identifier, key_protection
from est_server.wire.multipart import Part
from est_server.wire.pkcs10 import parse_csr

KEK, NAME = b"k" * 32, x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "SN-1")])
PROTECTION = Protection(((DECRYPT_KEY_IDENTIFIER, encode_identifier(b"factory")),), KEK)
CERTS_ONLY = "application/pkcs7-mime; smime-type=certs-only"
SEALED = "application/pkcs7-mime; smime-type=server-generated-key"


@cache
def holder(name: str):
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def der(name: str) -> bytes:
    return holder(name)[1].public_bytes(Encoding.DER)


def pkcs8(name: str) -> bytes:
    return holder(name)[0].private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def sealed(name: str, signer: str = "server", content_type: str = SIGNED_DATA) -> Part:
    key, certificate = holder(signer)
    signed = sign_content(key_package(pkcs8(name)), KEY_PACKAGE, Signer(certificate, key))
    recipient = key_encryption(b"factory", KEK, bytes(32))
    return Part(SEALED, envelope(signed, content_type, recipient, bytes(32), bytes(16)))


def issued(name: str) -> Part:
    return Part(CERTS_ONLY, certs_only([der(name)]))


PLAIN = Part("application/pkcs8", pkcs8("device"))


def test_a_plain_and_a_sealed_key_are_read_with_their_certificate() -> None:
    for parts, protection in (
        ((PLAIN, issued("device")), Protection()),
        ((sealed("device"), issued("device")), PROTECTION),
    ):
        key, certificate = read_answer(parts, protection, der("server"))
        assert key.public_key() == holder("device")[0].public_key()
        assert certificate == holder("device")[1]


@pytest.mark.parametrize(
    ("parts", "protection", "rule"),
    [
        ((PLAIN,), Protection(), "remote.parts"),
        ((PLAIN, issued("device"), issued("device")), Protection(), "remote.parts"),
        # a key that was to be encrypted and was not is refused, and the other way round
        ((PLAIN, issued("device")), PROTECTION, "remote.key"),
        ((sealed("device"), issued("device")), Protection(), "remote.key"),
        ((sealed("device"), issued("other")), PROTECTION, "remote.certificate"),
        ((sealed("device", "stranger"), issued("device")), PROTECTION, "remote.key-signer"),
        ((sealed("device", content_type="1.2.3"), issued("device")), PROTECTION, "remote.key"),
        ((Part("application/pkcs8", b"\x30\x00"), issued("device")), Protection(), "remote.key"),
        (
            (sealed("device"), issued("device")),
            Protection(PROTECTION.attributes, b"x" * 32),
            "enveloped.key",
        ),
    ],
)
def test_anything_else_is_refused(
    parts: tuple[Part, ...], protection: Protection, rule: str
) -> None:
    with pytest.raises(Malformed) as refused:
        read_answer(parts, protection, der("server"))
    assert refused.value.rule == rule


def test_a_request_names_the_key_that_is_to_encrypt() -> None:
    csr = parse_csr(make_request("EC-P256", NAME, [], PROTECTION), keyless=True)
    assert csr.subject == NAME
    assert key_protection(csr.attributes).symmetric == b"factory"
    plain = parse_csr(make_request("RSA-2048", NAME, [], Protection()), keyless=True)
    assert (plain.key_algorithm, plain.attributes) == ("RSA-2048", ())

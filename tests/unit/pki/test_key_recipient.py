"""Whose certificate an AsymmetricDecryptKeyIdentifier means, and whether its key may be used."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from est_server.pki.key_recipient import names_certificate, with_certificate, with_secret_key
from est_server.pki.usages import key_usage_extension
from est_server.wire.key_protection import Capability

AES_256 = Capability("2.16.840.1.101.3.4.1.42")
KEYS: dict[str, Any] = {
    "EC": ec.generate_private_key(ec.SECP256R1()),
    "RSA": rsa.generate_private_key(65537, 2048),
    "Ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def certificate(kind: str, *extensions: x509.ExtensionType) -> x509.Certificate:
    key = KEYS[kind]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "holder")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, None if kind == "Ed25519" else hashes.SHA256())


def test_a_key_is_named_by_its_certificates_identifier_alone() -> None:
    hashed = x509.SubjectKeyIdentifier.from_public_key(KEYS["EC"].public_key()).digest
    named = certificate("EC", x509.SubjectKeyIdentifier(b"my own name"))
    assert names_certificate(b"my own name", named)
    assert not names_certificate(hashed, named)
    assert names_certificate(hashed, certificate("EC"))
    for wrong in (b"", b"my own", hashed[:-1], hashed + b"\0"):
        assert not names_certificate(wrong, named)
        assert not names_certificate(wrong, certificate("EC"))


@pytest.mark.parametrize(
    ("kind", "recipient", "right", "wrong"),
    [
        ("EC", "kari", "keyAgreement", "keyEncipherment"),
        ("RSA", "ktri", "keyEncipherment", "keyAgreement"),
    ],
)
def test_a_key_is_used_as_its_certificate_allows(
    kind: str, recipient: str, right: str, wrong: str
) -> None:
    for extensions in ((), (key_usage_extension(("digitalSignature", right)),)):
        found = with_certificate([AES_256], certificate(kind, *extensions))
        assert found.algorithms.kind == recipient
        assert found.certificate is not None
    for usage in (("digitalSignature",), ("digitalSignature", wrong)):
        with pytest.raises(ValueError, match=f"no {right}"):
            with_certificate([AES_256], certificate(kind, key_usage_extension(usage)))


def test_a_key_that_only_signs_receives_nothing() -> None:
    with pytest.raises(ValueError, match="neither"):
        with_certificate([AES_256], certificate("Ed25519"))


def test_a_secret_key_is_not_in_its_recipients_text() -> None:
    found = with_secret_key([AES_256], b"name", b"k" * 32)
    assert (found.algorithms.kind, found.identifier, found.kek) == ("kekri", b"name", b"k" * 32)
    assert "kkkk" not in repr(found)

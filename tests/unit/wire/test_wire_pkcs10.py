from pathlib import Path

import pytest
from asn1crypto import csr as asn1_csr
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, mldsa, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from est_server.errors import Malformed
from est_server.wire.pkcs10 import (
    CHALLENGE_PASSWORD,
    EXTENSION_REQUEST,
    parse_csr,
    verify_signature,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc2986"
NAME = x509.Name(
    [
        x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, "Example"),
        x509.NameAttribute(x509.NameOID.COMMON_NAME, "router-1"),
    ]
)
RSA_KEY = rsa.generate_private_key(65537, 2048)


def _builder() -> x509.CertificateSigningRequestBuilder:
    return x509.CertificateSigningRequestBuilder().subject_name(NAME)


def _vector(name: str) -> bytes:
    return (VECTORS / f"{name}.der").read_bytes()


@pytest.mark.parametrize(
    ("key", "algorithm", "name", "digest"),
    [
        (ec.generate_private_key(ec.SECP256R1()), hashes.SHA256(), "EC-P256", "sha256"),
        (ec.generate_private_key(ec.SECP384R1()), hashes.SHA384(), "EC-P384", "sha384"),
        (ec.generate_private_key(ec.SECP521R1()), hashes.SHA512(), "EC-P521", "sha512"),
        (ec.generate_private_key(ec.SECP256K1()), hashes.SHA256(), "EC-secp256k1", "sha256"),
        (RSA_KEY, hashes.SHA256(), "RSA-2048", "sha256"),
        (ed25519.Ed25519PrivateKey.generate(), None, "Ed25519", None),
        (ed448.Ed448PrivateKey.generate(), None, "Ed448", None),
        (mldsa.MLDSA44PrivateKey.generate(), None, "ML-DSA-44", None),
        (mldsa.MLDSA65PrivateKey.generate(), None, "ML-DSA-65", None),
        (mldsa.MLDSA87PrivateKey.generate(), None, "ML-DSA-87", None),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_of_key_is_read_named_and_verified(key, algorithm, name, digest):
    built = _builder().sign(key, algorithm)
    csr = parse_csr(built.public_bytes(Encoding.DER))
    verify_signature(csr)
    assert (csr.key_algorithm, csr.signature_hash) == (name, digest)
    assert csr.public_key == key.public_key()
    assert csr.spki == key.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    )


def test_a_pss_signature_with_an_ordinary_rsa_key_is_verified():
    built = _builder().sign(
        RSA_KEY,
        hashes.SHA256(),
        rsa_padding=padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.DIGEST_LENGTH),
    )
    csr = parse_csr(built.public_bytes(Encoding.DER))
    verify_signature(csr)
    assert (csr.key_algorithm, csr.signature_hash) == ("RSA-2048", "sha256")


def test_every_part_is_what_an_independent_reader_finds():
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    names = [
        x509.DNSName("b.example"),
        x509.UniformResourceIdentifier("urn:dev:1"),
        x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x0c\x01x"),
        x509.DNSName("a.example"),
    ]
    der = (
        _builder()
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_attribute(x509.ObjectIdentifier(CHALLENGE_PASSWORD), b"secret")
        .sign(RSA_KEY, hashes.SHA256())
        .public_bytes(Encoding.DER)
    )
    csr = parse_csr(der)
    info = asn1_csr.CertificationRequest.load(der, strict=True)["certification_request_info"]
    assert csr.der == der
    assert csr.info_der == info.dump()
    assert csr.subject == NAME
    assert csr.subject_der == info["subject"].dump()
    assert csr.subject_alternative_names == tuple(names)
    assert [(extension.value, extension.critical) for extension in csr.extensions] == [
        (usage, True),
        (x509.SubjectAlternativeName(names), False),
    ]
    assert csr.challenge_password == "secret"
    assert [(attribute.oid, attribute.values) for attribute in csr.attributes] == [
        (attribute["type"].dotted, tuple(value.dump() for value in attribute["values"]))
        for attribute in info["attributes"]
    ]
    assert {attribute.oid for attribute in csr.attributes} == {
        CHALLENGE_PASSWORD,
        EXTENSION_REQUEST,
    }


def test_a_request_without_anything_asks_for_nothing():
    csr = parse_csr(_vector("subject_empty"))
    assert len(list(csr.subject)) == 0
    assert csr.subject_der == b"\x30\x00"
    assert csr.challenge_password is None
    assert csr.extensions == csr.subject_alternative_names == csr.attributes == ()


@pytest.mark.parametrize("kind", ["utf8", "printable", "ia5", "teletex", "bmp", "universal"])
def test_a_challenge_password_reads_alike_in_every_string_type(kind):
    assert parse_csr(_vector(f"challenge_{kind}")).challenge_password == "secret"


def test_the_same_key_has_the_same_spki_however_its_point_is_written():
    compressed, plain = _vector("key_compressed_point"), _vector("signature_good")
    assert parse_csr(compressed).spki == parse_csr(plain).spki
    assert parse_csr(compressed).info_der != parse_csr(plain).info_der


def test_microsofts_extension_request_is_seen():
    (name,) = parse_csr(_vector("extension_microsoft_request")).subject_alternative_names
    assert name == x509.DNSName("a.example")


def test_a_weak_hash_is_told_apart_from_a_wrong_signature():
    csr = parse_csr(_vector("signature_sha1"))
    assert csr.signature_hash == "sha1"
    with pytest.raises(Malformed) as caught:
        verify_signature(csr)
    assert caught.value.rule == "csr.weak-hash"


def test_one_changed_bit_of_the_request_breaks_the_signature():
    der = bytearray(_vector("signature_good"))
    at = der.index(b"router-1")
    der[at] ^= 1
    with pytest.raises(Malformed) as caught:
        verify_signature(parse_csr(bytes(der)))
    assert caught.value.rule == "csr.signature"


def test_the_value_can_not_be_changed():
    with pytest.raises(AttributeError):
        parse_csr(_vector("signature_good")).der = b""


@pytest.mark.parametrize(
    "name",
    [
        *("key_rsa_exponent_one", "key_x25519", "key_not_on_curve", "key_unknown_algorithm"),
        *("key_explicit_curve", "signature_of_another_key", "signature_zero", "signature_sha1"),
        *("signature_unknown_algorithm", "signature_empty", "key_dsa", "key_at_infinity"),
    ],
)
def test_a_keyless_reading_takes_any_key_and_any_signature(name):
    csr = parse_csr(_vector(name), keyless=True)
    assert (csr.spki, csr.public_key, csr.signature_hash) == (b"", None, None)
    assert csr.subject.rdns


def test_a_keyless_reading_tells_the_algorithm_and_refuses_all_else():
    assert parse_csr(_vector("signature_good"), keyless=True).key_algorithm == "EC-P256"
    for name in ("subject_nul", "attribute_twice", "trailing_octet", "names_nul"):
        with pytest.raises(Malformed):
            parse_csr(_vector(name), keyless=True)

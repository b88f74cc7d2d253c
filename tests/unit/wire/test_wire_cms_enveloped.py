import secrets
import subprocess

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from key_delivery_world import CURVES, VECTOR, certificate, enveloped, private_key, signed

from est_server.errors import Malformed
from est_server.wire.cms_enveloped import (
    SIGNED_DATA,
    envelope,
    key_agreement,
    key_encryption,
    key_transport,
)
from est_server.wire.cms_open import open_envelope

KEK = bytes(range(50, 82))
WAYS = [
    *(("kekri", {"kek": KEK[:octets]}) for octets in (16, 24, 32)),
    *(("RSA-2048", {"transport": way}) for way in ("pkcs1", "oaep-sha1", "oaep-sha256")),
    *(
        (curve, {"kdf": kdf, "wrap": wrap})
        for curve, kdf, wrap in (
            ("EC-P256", "sha256", 16),
            ("EC-P256", "sha256", 32),
            ("EC-P384", "sha384", 24),
            ("EC-P521", "sha512", 32),
        )
    ),
]
IDS = [f"{kind}-{number}" for number, (kind, _) in enumerate(WAYS)]


def opener(kind, how):
    return how["kek"] if kind == "kekri" else private_key(kind)


@pytest.mark.parametrize(("kind", "how"), WAYS, ids=IDS)
@pytest.mark.parametrize("octets", [16, 24, 32])
def test_the_recipient_opens_it(kind, how, octets):
    der = enveloped(kind, octets=octets, **how)
    assert open_envelope(der, opener(kind, how)) == (SIGNED_DATA, signed())


@pytest.mark.parametrize(("kind", "how"), WAYS, ids=IDS)
def test_openssl_opens_it(kind, how, tmp_path):
    message, content = tmp_path / "message.der", tmp_path / "content"
    message.write_bytes(enveloped(kind, **how))
    if kind == "kekri":
        key = ["-secretkey", how["kek"].hex(), "-secretkeyid", b"key-1".hex()]
    else:
        pem, private = tmp_path / "recipient.pem", tmp_path / "recipient.key"
        pem.write_bytes(certificate(kind).public_bytes(Encoding.PEM))
        private.write_bytes(
            private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        key = ["-recip", pem, "-inkey", private]
    subprocess.run(
        ["openssl", "cms", "-decrypt", "-inform", "DER", "-in", message, "-binary",
         "-out", content, *key],
        check=True, capture_output=True,
    )  # fmt: skip
    assert content.read_bytes() == signed()


@pytest.mark.parametrize(
    ("kind", "how", "version", "inner"),
    [
        ("kekri", {"kek": KEK}, "v2", "v4"),
        ("RSA-2048", {}, "v0", "v0"),
        ("EC-P256", {}, "v2", "v3"),
    ],
)
def test_versions_are_those_of_rfc_5652_6(kind, how, version, inner):
    found = cms.ContentInfo.load(enveloped(kind, **how), strict=True)
    content = found["content"]
    (recipient,) = content["recipient_infos"]
    assert (content["version"].native, recipient.chosen["version"].native) == (version, inner)
    assert content["encrypted_content_info"]["content_type"].native == "signed_data"


def test_the_identifier_of_a_secret_key_is_repeated():
    found = cms.ContentInfo.load(enveloped("kekri", kek=KEK))["content"]
    (recipient,) = found["recipient_infos"]
    assert recipient.chosen["kekid"]["key_identifier"].native == b"key-1"


@pytest.mark.parametrize(("kind", "how"), WAYS, ids=IDS)
def test_no_other_key_opens_it(kind, how):
    der = enveloped(kind, **how)
    others = [secrets.token_bytes(len(KEK)), bytes(16), private_key("RSA-3072")]
    others += [ec.generate_private_key(curve) for curve in CURVES.values()]
    for other in others:
        with pytest.raises(Malformed) as refused:
            open_envelope(der, other)
        assert refused.value.rule in {"enveloped.key", "enveloped.encoding"}


def test_the_wrong_kind_of_certificate_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError):
        key_transport(certificate("EC-P256"), "pkcs1", bytes(16))
    with pytest.raises(TypeError):
        key_agreement(certificate("RSA-2048"), private_key("EC-P256"), "sha256", 16, bytes(16))


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.sampled_from((16, 24, 32)), st.sampled_from((16, 24, 32)))
def test_any_content_comes_back(content, octets, wrap):
    key, kek = bytes(octets), bytes(wrap)
    der = envelope(content, SIGNED_DATA, key_encryption(b"k", kek, key), key, VECTOR)
    assert open_envelope(der, kek) == (SIGNED_DATA, content)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("RSA-2048", []),
        ("RSA-2048", ["-keyopt", "rsa_padding_mode:oaep"]),
        (
            "RSA-2048",
            ["-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256",
             "-keyopt", "rsa_mgf1_md:sha256"],
        ),
        ("EC-P256", ["-keyopt", "ecdh_kdf_md:sha256"]),
        ("EC-P384", ["-keyopt", "ecdh_kdf_md:sha384"]),
        ("kekri", ["-secretkey", KEK.hex(), "-secretkeyid", "6b"]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("cipher", ["-aes-128-cbc", "-aes-256-cbc"])
def test_what_openssl_makes_is_opened(kind, options, cipher, tmp_path):
    content, message, pem = tmp_path / "content", tmp_path / "message", tmp_path / "recip.pem"
    content.write_bytes(signed())
    recipient = []
    if kind != "kekri":
        pem.write_bytes(certificate(kind).public_bytes(Encoding.PEM))
        recipient = ["-recip", pem]
    subprocess.run(
        ["openssl", "cms", "-encrypt", "-binary", "-outform", "DER", "-in", content,
         "-out", message, cipher, *recipient, *options],
        check=True, capture_output=True,
    )  # fmt: skip
    key = KEK if kind == "kekri" else private_key(kind)
    assert open_envelope(message.read_bytes(), key) == ("1.2.840.113549.1.7.1", signed())

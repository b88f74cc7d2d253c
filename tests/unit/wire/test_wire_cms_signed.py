import subprocess
from dataclasses import replace

import pytest
from asn1crypto import cms
from cryptography.hazmat.primitives.serialization import Encoding
from key_delivery_world import certificate, private_key_info, signed, signer

from est_server.errors import Malformed
from est_server.wire.cms_signed import (
    KEY_PACKAGE,
    key_package,
    sign_content,
    unpack_key_package,
    verify_signed,
)

KINDS = ["EC-P256", "EC-P384", "EC-P521", "RSA-2048", "Ed25519"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_signed_is_read_back_with_its_certificate(kind):
    content, certificates = verify_signed(signed(kind), KEY_PACKAGE)
    assert unpack_key_package(content) == private_key_info()
    assert certificates == (signer(kind).certificate.public_bytes(Encoding.DER),)


@pytest.mark.parametrize("kind", KINDS[:-1])  # OpenSSL 3.0 has no Ed25519 in CMS
def test_openssl_verifies_it(kind, tmp_path):
    outer = cms.ContentInfo(
        {"content_type": "signed_data", "content": cms.SignedData.load(signed(kind))}
    )
    (tmp_path / "signed.der").write_bytes(outer.dump())
    anchor = tmp_path / "signer.pem"
    anchor.write_bytes(signer(kind).certificate.public_bytes(Encoding.PEM))
    content = tmp_path / "content"
    subprocess.run(
        ["openssl", "cms", "-verify", "-inform", "DER", "-in", tmp_path / "signed.der", "-binary",
         "-CAfile", anchor, "-purpose", "any", "-out", content],
        check=True, capture_output=True,
    )  # fmt: skip
    assert content.read_bytes() == key_package(private_key_info())


def test_the_structure_is_that_of_rfc_5652_5():
    found = cms.SignedData.load(signed(), strict=True)
    assert found["version"].native == "v3"  # the content is not id-data
    assert found["encap_content_info"]["content_type"].dotted == KEY_PACKAGE
    (info,) = found["signer_infos"]
    assert info["version"].native == "v1"
    assert info["sid"].name == "issuer_and_serial_number"
    assert {one["type"].native for one in info["signed_attrs"]} == {
        "content_type",
        "message_digest",
    }


def test_further_certificates_come_behind_the_signers():
    above = certificate("EC-P384", "above")
    der = sign_content(b"\x30\x00", KEY_PACKAGE, replace(signer(), above=(above,)))
    _, certificates = verify_signed(der, KEY_PACKAGE)
    assert certificates == (
        signer().certificate.public_bytes(Encoding.DER),
        above.public_bytes(Encoding.DER),
    )


def changed(change):
    found = cms.SignedData.load(signed())
    change(found)
    return found.dump(force=True)


def other_content(found):
    found["encap_content_info"]["content"] = b"\x30\x00"


def other_attribute(found):
    found["signer_infos"][0]["signed_attrs"][1]["values"] = [bytes(32)]


def other_signature(found):
    found["signer_infos"][0]["signature"] = bytes(70)


def other_key(found):
    forged = certificate("EC-P384", "signer").public_bytes(Encoding.DER)
    found["certificates"] = [cms.CertificateChoices.load(forged)]


@pytest.mark.parametrize("change", [other_content, other_attribute, other_signature, other_key])
def test_what_was_changed_is_refused(change):
    with pytest.raises(Malformed) as refused:
        verify_signed(changed(change), KEY_PACKAGE)
    assert refused.value.rule in {"signed.signature", "signed.signers", "signed.encoding"}


def test_a_signer_with_a_key_of_no_known_kind_is_refused():
    ec_public_key = bytes.fromhex("06072a8648ce3d0201")
    unknown = bytes.fromhex("0607008648ce3d0201")
    at = signed().rindex(ec_public_key)  # in the certificate: the package's key comes before it
    data = signed()[:at] + unknown + signed()[at + len(unknown) :]
    with pytest.raises(Malformed) as refused:
        verify_signed(data, KEY_PACKAGE)
    assert refused.value.rule == "signed.encoding"


def test_another_content_type_is_refused():
    with pytest.raises(Malformed, match="content"):
        verify_signed(signed(), "1.2.840.113549.1.7.1")


@pytest.mark.parametrize(
    ("der", "rule"),
    [
        (b"", "key-package.encoding"),
        (b"\x30\x00", "key-package.count"),
        (key_package(private_key_info()) + b"\0", "key-package.trailing-bytes"),
        (b"\x30\x04\x30\x00\x30\x00", "key-package.count"),
    ],
)
def test_a_package_has_one_key(der, rule):
    with pytest.raises(Malformed) as refused:
        unpack_key_package(der)
    assert refused.value.rule == rule

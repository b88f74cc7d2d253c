import datetime as dt
from pathlib import Path

import pytest
from asn1crypto import cms
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, mldsa
from cryptography.hazmat.primitives.serialization import Encoding

from est_server.errors import Malformed
from est_server.wire.cms import certs_only, parse_certs_only

VECTORS = Path(__file__).parents[2] / "vectors"


def _certificate(key, algorithm, serial_number=1):
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .serial_number(serial_number)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=1))
        .public_key(key.public_key())
        .sign(key, algorithm)
        .public_bytes(Encoding.DER)
    )


CERTIFICATES = [
    _certificate(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()),
    _certificate(ed25519.Ed25519PrivateKey.generate(), None, 2),
    _certificate(mldsa.MLDSA65PrivateKey.generate(), None, 3),
]


@pytest.mark.parametrize("chosen", [[0], [1], [2], [0, 1, 2], [2, 1, 0]])
def test_certificates_come_back_octet_for_octet(chosen):
    certificates = [CERTIFICATES[index] for index in chosen]
    assert sorted(parse_certs_only(certs_only(certificates))) == sorted(certificates)


def test_parsed_certificates_give_the_same_message():
    parsed = [x509.load_der_x509_certificate(certificate) for certificate in CERTIFICATES]
    assert certs_only([CERTIFICATES[0], *parsed[1:]]) == certs_only(CERTIFICATES)


def test_the_message_is_the_degenerate_signed_data():
    content = cms.ContentInfo.load(certs_only(CERTIFICATES[:1]), strict=True)
    signed = content["content"]
    assert content["content_type"].native == "signed_data"
    assert signed["version"].native == "v1"
    assert len(signed["digest_algorithms"]) == 0
    assert signed["encap_content_info"]["content_type"].native == "data"
    assert signed["encap_content_info"]["content"].native is None
    assert len(signed["certificates"]) == 1
    assert signed["crls"].native is None
    assert len(signed["signer_infos"]) == 0


def test_what_is_not_a_certificate_is_not_sent():
    with pytest.raises(Malformed) as caught:
        certs_only([b"\x30\x00"])
    assert caught.value.rule == "cms.certificate"


def test_an_indefinite_length_is_read_without_a_remark():
    indefinite = (VECTORS / "rfc5652/indefinite_length.der").read_bytes()
    definite = (VECTORS / "rfc5652/one_certificate.der").read_bytes()
    assert parse_certs_only(indefinite) == parse_certs_only(definite)

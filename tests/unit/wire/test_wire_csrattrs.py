import base64
from pathlib import Path

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from cases import case

from est_server.wire.csrattrs import (
    AttributeValues,
    Oid,
    RequestTemplate,
    encode_csrattrs,
    extension_request,
    integer_value,
    oid_value,
    parse_csrattrs,
    template_attribute,
)
from est_server.wire.der import children

VECTORS = Path(__file__).parents[2] / "vectors" / "rfc9908"

CHALLENGE_PASSWORD = Oid("1.2.840.113549.1.9.7")
EC, SECP256R1, SECP384R1 = "1.2.840.10045.2.1", "1.2.840.10045.3.1.7", "1.3.132.0.34"
EXTENSION_REQUEST = "1.2.840.113549.1.9.14"
RSA = "1.2.840.113549.1.1.1"
SAN, EKU = "2.5.29.17", "2.5.29.37"
RFC7030_EXAMPLE = (
    CHALLENGE_PASSWORD,
    AttributeValues(EC, (oid_value(SECP384R1),)),
    AttributeValues(EXTENSION_REQUEST, (oid_value("1.3.6.1.1.1.1.22"),)),
    Oid("1.2.840.10045.4.3.3"),
)
SAN_VALUE = bytes.fromhex("300b8209612e6578616d706c65")  # dNSName a.example
TEMPLATE_NAMES = b"\x30\x14\x82\x10www.myServer.com\x87\x00"

CASES = [
    ("rfc7030_example", RFC7030_EXAMPLE),
    ("empty", ()),
    ("challenge_password", (CHALLENGE_PASSWORD,)),
    ("key_without_values", (AttributeValues("1.3.101.112", ()),)),
    ("rsa_size", (AttributeValues(RSA, (integer_value(4096),)),)),
    ("extension_request", (extension_request([(SAN, SAN_VALUE)]),)),
    (
        "template",
        (
            template_attribute(
                RequestTemplate(
                    subject=(("2.5.4.3", None), ("2.5.4.11", "myDept"), ("2.5.4.11", "myGroup")),
                    key_algorithm=EC,
                    curve=SECP256R1,
                    extensions=((SAN, TEMPLATE_NAMES), (EKU, None)),
                )
            ),
        ),
    ),
    (
        "template_rsa_size",
        (template_attribute(RequestTemplate(key_algorithm=RSA, rsa_bits=3072)),),
    ),
]


@pytest.mark.parametrize(("name", "items"), CASES, ids=[name for name, _ in CASES])
def test_a_value_and_its_octets_in_both_directions(name, items):
    der = (VECTORS / f"{name}.der").read_bytes()
    assert encode_csrattrs(items) == der
    assert parse_csrattrs(der) == items


@case(134)
def test_the_example_of_rfc_7030_is_its_base64():
    assert base64.b64encode(encode_csrattrs(RFC7030_EXAMPLE)) == (
        b"MEEGCSqGSIb3DQEJBzASBgcqhkjOPQIBMQcGBSuBBAAiMBYGCSqGSIb3DQEJDjEJ"
        b"BgcrBgEBAQEWBggqhkjOPQQDAw=="
    )


def test_an_extension_request_is_what_a_csr_would_hold():
    (value,) = extension_request([(SAN, SAN_VALUE), (EKU, b"\x30\x00")]).values
    extensions = asn1_x509.Extensions.load(value, strict=True)
    assert [extension["extn_id"].dotted for extension in extensions] == [SAN, EKU]
    assert extensions[0]["extn_value"].contents == SAN_VALUE


def _template(template: RequestTemplate) -> list[bytes]:
    (value,) = template_attribute(template).values
    return children(value)


def test_a_template_without_demands_has_no_subject_and_no_key():
    assert _template(RequestTemplate()) == [b"\x02\x01\x00", b"\xa1\x00"]


def test_fixed_extensions_use_the_plain_request_and_never_both():
    fixed = _template(RequestTemplate(extensions=((SAN, SAN_VALUE),)))[-1]
    mixed = _template(RequestTemplate(extensions=((SAN, SAN_VALUE), (EKU, None))))[-1]
    plain, template = oid_value(EXTENSION_REQUEST), oid_value("1.2.840.113549.1.9.16.2.62")
    assert (plain in fixed, template in fixed) == (True, False)
    assert (plain in mixed, template in mixed) == (False, True)


@pytest.mark.parametrize("bits", [2048, 3072, 4096])
def test_an_rsa_template_carries_a_modulus_of_the_size(bits):
    key = _template(RequestTemplate(key_algorithm=RSA, rsa_bits=bits))[1]
    _, placeholder = children(key)
    modulus = children(placeholder[5:])[0]
    assert core.Integer.load(modulus).native.bit_length() == bits


def test_a_key_template_without_size_has_no_public_key():
    key = _template(RequestTemplate(key_algorithm=EC, curve=SECP256R1))[1]
    assert len(children(key)) == 1


@pytest.mark.parametrize(
    ("oid", "tag"),
    [("2.5.4.3", 12), ("2.5.4.6", 19), ("2.5.4.5", 19), ("1.2.840.113549.1.9.1", 22)],
)
def test_a_fixed_subject_value_has_the_string_type_of_its_attribute(oid, tag):
    subject = _template(RequestTemplate(subject=((oid, "SE"),)))[1]
    (relative_name,) = children(subject)
    (single,) = children(relative_name)
    assert children(single)[1] == bytes([tag, 2]) + b"SE"

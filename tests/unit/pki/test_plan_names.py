"""A plan that was written down comes back octet for octet."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan, Pointers
from est_server.pki.plan_names import decode_plan, encode_names

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
KEYS = [
    generate_key(name).public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for name in ("EC-P256", "RSA-2048", "ML-DSA-65")
]
TEXT = st.text(st.characters(min_codepoint=0x20, exclude_categories=["Cs"]), min_size=1, max_size=9)
SUBJECTS = st.lists(TEXT, max_size=3).map(
    lambda values: x509.Name(
        [x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, value) for value in values]
    )
)
HOSTS = st.from_regex(r"[a-z][a-z0-9-]{0,9}\.example", fullmatch=True)
NAMES = st.one_of(
    HOSTS.map(x509.DNSName),
    HOSTS.map(lambda host: x509.RFC822Name(f"a@{host}")),
    HOSTS.map(lambda host: x509.UniformResourceIdentifier(f"urn:{host}")),
    st.ip_addresses().map(x509.IPAddress),
    SUBJECTS.map(x509.DirectoryName),
    st.just(x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), b"\x30\x00")),
    st.just(x509.RegisteredID(x509.ObjectIdentifier("1.2.3"))),
)


def plan(spki, subject, names, **fields):
    return CertificatePlan(
        ca="aws", subject=subject, subject_alternative_names=tuple(names), spki=spki,
        key_algorithm="EC-P256", not_before=NOW, not_after=NOW + timedelta(90),
        key_usage=("digitalSignature",), extended_key_usage=("1.3.6.1.5.5.7.3.2",), **fields,
    )  # fmt: skip


@given(st.sampled_from(KEYS), SUBJECTS, st.lists(NAMES, max_size=4))
def test_names_and_key_come_back(spki, subject, names):
    before = plan(spki, subject, names)
    after = decode_plan(before.as_json(), encode_names(before))
    assert after == before
    assert after.subject.public_bytes() == subject.public_bytes()


def test_string_types_stay():
    name = x509.Name(
        [
            x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "DE"),
            x509.NameAttribute(
                x509.NameOID.COMMON_NAME, "a", _type=x509.name._ASN1Type.PrintableString
            ),
        ]
    )
    before = plan(KEYS[0], name, ())
    after = decode_plan(before.as_json(), encode_names(before))
    assert after.subject.public_bytes() == name.public_bytes()


@pytest.mark.parametrize(
    "fields",
    [
        {"certificate_policies": ("1.2.3", "1.2.4")},
        {"pointers": Pointers(("http://a/1",), ("http://a/2",), ("http://a/3",), ("http://a/4",))},
        {"crl_shard": 3},
        {"ocsp_nocheck": True},
    ],
)
def test_everything_else_comes_back(fields):
    names = (x509.IPAddress(ipaddress.ip_address("192.0.2.1")),)
    before = plan(KEYS[0], x509.Name([]), names, **fields)
    assert decode_plan(before.as_json(), encode_names(before)) == before

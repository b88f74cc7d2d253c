"""When two names are the same (RFC 5280 7.1): what a renewal may say differently."""

from __future__ import annotations

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from est_server.pki.names import general_names_equal, names_equal

CN, ORG = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME
UID = NameOID.X500_UNIQUE_IDENTIFIER
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")


def attribute(oid, value, kind=_ASN1Type.UTF8String):
    return x509.NameAttribute(oid, value, kind)


def name(*rdns):
    return x509.Name([x509.RelativeDistinguishedName(rdn) for rdn in rdns])


def cn(text, kind=_ASN1Type.UTF8String):
    return name([attribute(CN, text, kind)])


SAME = {
    "string-type": (cn("SN-1", _ASN1Type.PrintableString), cn("SN-1")),
    "bmp-string": (cn("SN-1", _ASN1Type.BMPString), cn("SN-1")),
    "teletex-string": (cn("SN-1", _ASN1Type.T61String), cn("SN-1")),
    "case": (cn("Router ONE"), cn("router one")),
    "space": (cn("router one"), cn(" router   one")),
    "unicode-form": (cn("Ma\u0308rz"), cn("M\u00e4rz")),
    "set-order": (
        name([attribute(CN, "a"), attribute(ORG, "b")]),
        name([attribute(ORG, "b"), attribute(CN, "a")]),
    ),
    "unknown-type": (name([attribute(UNKNOWN, "X")]), name([attribute(UNKNOWN, "x")])),
    "prohibited-character": (cn("a\ufffd"), cn("a\ufffd")),
}
OTHER = {
    "value": (cn("SN-1"), cn("SN-2")),
    "inner-space": (cn("router one"), cn("routerone")),
    "type": (cn("a"), name([attribute(ORG, "a")])),
    "order": (
        name([attribute(CN, "a")], [attribute(ORG, "b")]),
        name([attribute(ORG, "b")], [attribute(CN, "a")]),
    ),
    "number": (cn("a"), name([attribute(CN, "a")], [attribute(CN, "a")])),
    "grouping": (
        name([attribute(CN, "a"), attribute(ORG, "b")]),
        name([attribute(CN, "a")], [attribute(ORG, "b")]),
    ),
    "one-of-two-of-a-type": (
        name([attribute(CN, "a"), attribute(CN, "z")]),
        name([attribute(CN, "b"), attribute(CN, "z")]),
    ),
    "bits": (
        name([attribute(UID, b"\x00a", _ASN1Type.BitString)]),
        name([attribute(UID, b"\x00b", _ASN1Type.BitString)]),
    ),
    "prohibited-character": (cn("a\ufffd"), cn("A\ufffd")),
    "nothing": (cn("a"), name()),
}


@pytest.mark.parametrize(("one", "other"), SAME.values(), ids=SAME)
def test_case_121_the_same_name_written_differently(one, other):
    assert names_equal(one, other)
    assert names_equal(other, one)


@pytest.mark.parametrize(("one", "other"), OTHER.values(), ids=OTHER)
def test_another_name(one, other):
    assert not names_equal(one, other)
    assert not names_equal(other, one)


DNS, URI, MAIL = x509.DNSName, x509.UniformResourceIdentifier, x509.RFC822Name
DIRECTORY = x509.DirectoryName


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ([DNS("a.example"), DNS("b.example")], [DNS("B.EXAMPLE"), DNS("a.example")], True),
        ([DNS("a.example")], [DNS("a.example"), DNS("b.example")], False),
        ([DNS("a.example")], [], False),
        ([DNS("a.example")], [URI("a.example")], False),
        ([MAIL("a@Example.net")], [MAIL("a@example.NET")], True),
        ([MAIL("a@example.net")], [MAIL("A@example.net")], False),
        ([URI("HTTPS://Host.example/Path")], [URI("https://host.EXAMPLE/Path")], True),
        ([URI("https://host/Path")], [URI("https://host/path")], False),
        ([URI("https://Bob@host/")], [URI("https://bob@host/")], False),
        ([URI("urn:uuid:A")], [URI("urn:uuid:a")], False),
        ([DIRECTORY(cn("SN-1", _ASN1Type.PrintableString))], [DIRECTORY(cn("sn-1"))], True),
        ([DIRECTORY(cn("SN-1"))], [DIRECTORY(cn("SN-2"))], False),
        ([x509.OtherName(UNKNOWN, b"\x0c\x01a")], [x509.OtherName(UNKNOWN, b"\x0c\x01A")], False),
    ],
)
def test_case_122_alternative_names_are_a_set(one, other, equal):
    assert general_names_equal(one, other) is equal
    assert general_names_equal(other, one) is equal


@given(st.text(min_size=1, max_size=16).filter(lambda text: len(text.encode()) <= 64))
def test_no_text_breaks_the_comparison(text):
    one = cn(text)
    assert names_equal(one, one)
    assert names_equal(name([attribute(ORG, text)], [attribute(CN, "x")]), one) is False

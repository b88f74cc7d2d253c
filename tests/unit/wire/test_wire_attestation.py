"""Evidence in a request, and nonces as JSON."""

from __future__ import annotations

import json

import pytest
from attacks import attack
from evidence import bundle, csr_with, sequence, statement
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated

from est_server.errors import Malformed
from est_server.wire.attestation import (
    MOST_CERTIFICATES,
    MOST_STATEMENTS,
    attestation_bundle,
    read_attestation_bundle,
)
from est_server.wire.der import children, header
from est_server.wire.freshness import (
    MOST_OCTETS,
    NonceRequest,
    nonce_response,
    read_nonce_request,
)
from est_server.wire.pkcs10 import parse_csr

STMT = bytes.fromhex("0403010203")
CERTIFICATE = sequence(STMT)
GOOD = bundle([("2.23.133.20.1", STMT)], [CERTIFICATE])


def refused(der: bytes) -> str:
    with pytest.raises(Malformed) as error:
        read_attestation_bundle(der)
    return error.value.rule


def test_a_bundle_is_read_from_a_request():
    found = attestation_bundle(parse_csr(csr_with(GOOD)))
    assert found is not None
    assert found.der == GOOD
    assert [(one.type, one.stmt) for one in found.statements] == [("2.23.133.20.1", STMT)]
    assert found.certificates == (CERTIFICATE,)


def test_a_request_without_the_attribute_has_none():
    other = csr_with(GOOD).replace(bytes.fromhex("091002 3b"), bytes.fromhex("091002 3c"))
    assert attestation_bundle(parse_csr(other)) is None


oids = st.lists(st.integers(0, 2**40), min_size=1, max_size=8).map(
    lambda arcs: "1.3." + ".".join(map(str, arcs))
)
stmts = st.binary(max_size=40).map(lambda octets: bytes([4, len(octets)]) + octets)


@examples(100, 0.02)
@given(
    st.lists(st.tuples(oids, stmts), min_size=1, max_size=MOST_STATEMENTS),
    st.lists(st.binary(max_size=20).map(sequence), max_size=MOST_CERTIFICATES),
)
def test_bundles_come_back(statements, certificates):
    found = read_attestation_bundle(bundle(statements, certificates))
    assert [(one.type, one.stmt) for one in found.statements] == statements
    assert [*found.certificates] == certificates


@attack(65)
def test_two_attributes_are_refused():
    one = csr_with(GOOD)
    _, _, _, attributes = children(parse_csr(one).info_der)
    (attribute,) = children(attributes)
    with pytest.raises(Malformed, match="stands twice"):
        parse_csr(_with_attributes(one, attribute + attribute))


@attack(66)
def test_one_attribute_with_two_values_is_refused():
    with pytest.raises(Malformed) as error:
        parse_csr(csr_with(GOOD + GOOD))
    assert error.value.rule == "csr.attributes"


@attack(67)
def test_a_bundle_without_a_statement_is_refused():
    assert refused(sequence(sequence())) == "attestation.encoding"
    assert refused(sequence()) == "attestation.encoding"


@attack(69)
def test_certificates_are_counted_and_not_looked_at():
    many = bundle([("1.2.3", STMT)], [b"\x30\x00"] * 10000)
    assert refused(many) == "attestation.too-many"
    assert refused(bundle([("1.2.3", STMT)], [b"\x30\x00"] * MOST_CERTIFICATES)[:-1]) == (
        "attestation.encoding"
    )


def test_statements_are_counted():
    assert refused(bundle([("1.2.3", STMT)] * (MOST_STATEMENTS + 1))) == "attestation.too-many"


@attack(72)
def test_indefinite_lengths_are_refused():
    assert refused(b"\x30\x80" + GOOD[2:] + b"\0\0") == "attestation.encoding"
    inner = sequence(b"\x30\x80" + statement("1.2.3", STMT) + b"\0\0")
    assert refused(inner) == "attestation.encoding"


@pytest.mark.parametrize(
    ("certificate", "rule"),
    [
        (b"\xa1\x00", "attestation.certificate-format"),  # an attribute certificate, version 1
        (b"\xa2\x00", "attestation.certificate-format"),  # an attribute certificate, version 2
        (b"\xa3\x00", "attestation.certificate-format"),  # OtherCertificateFormat
        (sequence(b"\0" * 16384), "attestation.too-large"),
    ],
)
def test_only_certificates_stand_beside_statements(certificate, rule):
    assert refused(bundle([("1.2.3", STMT)], [certificate])) == rule


@pytest.mark.parametrize(
    "der",
    [
        b"",
        STMT,
        sequence(GOOD[2:], b"\x04\x00", b"\x04\x00"),
        sequence(sequence(statement("1.2.3", STMT)), sequence()),  # an empty list is left out
        sequence(sequence(sequence(STMT, STMT))),  # a type that is no identifier
        sequence(sequence(sequence(b"\x06\x01\x2a"))),  # no value
        sequence(sequence(sequence(b"\x06\x01\x2a", STMT, STMT))),  # the third field of old drafts
        sequence(sequence(sequence(b"\x06\x03\x2a\x80\x01", STMT))),  # a padded arc
        sequence(sequence(sequence(b"\x06\x00", STMT))),
        GOOD + b"\0",
    ],
)  # fmt: skip
def test_what_is_no_bundle_is_malformed(der):
    with pytest.raises(Malformed):
        read_attestation_bundle(der)


def _with_attributes(csr: bytes, attributes: bytes) -> bytes:
    """Return a request with other attributes, whose signature does not fit any more."""
    info, algorithm, signature = children(csr)
    version, subject, spki, _ = children(info)
    content = header(0xA0, len(attributes)) + attributes
    return sequence(sequence(version, subject, spki, content), algorithm, signature)


@examples(200, 0.04)
@given(st.binary(max_size=300))
def test_random_bundles(data):
    _survives("attestation", read_attestation_bundle, data)


@examples(300, 0.08)
@given(st.randoms(use_true_random=False))
def test_changed_bundles(random):
    _survives(
        "attestation", read_attestation_bundle, mutated(random, [GOOD, bundle([("1.2", STMT)] * 8)])
    )


NONCES = [
    b"{}",
    b'{"len":32}',
    b'{"len":64,"reqTypeInfo":{"type":"2.23.133.20.1","reqInfo":{"ek":["AA","BB"],"n":1.5}}}',
]


@examples(200, 0.04)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode())))
def test_random_nonce_requests(data):
    _survives("nonce", read_nonce_request, data)


@examples(200, 0.04)
@given(st.randoms(use_true_random=False))
def test_changed_nonce_requests(random):
    _survives("nonce", read_nonce_request, mutated(random, NONCES))


def _survives(kind, codec, data):
    try:
        counted(kind, lambda: codec(data))
    except Malformed as error:
        assert error.rule.startswith(f"{kind}.")  # noqa: PT017


def test_nonce_requests_are_read():
    assert read_nonce_request(b"{}") == NonceRequest(32)
    assert read_nonce_request(b'{"len":8,"later":[]}') == NonceRequest(8)
    assert read_nonce_request(NONCES[2]) == NonceRequest(
        64, "2.23.133.20.1", {"ek": ["AA", "BB"], "n": 1.5}
    )


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"8", b"\xff", b'{"len":', b'{"len":7}', b'{"len":65}',
        b'{"len":"32"}',
        b'{"len":true}', b'{"len":32.0}', b'{"len":null}', b'{"len":32,"len":32}',
        b'{"reqTypeInfo":[]}', b'{"reqTypeInfo":{}}', b'{"reqTypeInfo":{"type":"tpm"}}',
        b'{"reqTypeInfo":{"type":"1.2","reqInfo":NaN}}',
        b'{"reqTypeInfo":{"type":"1.2","reqInfo":1e999}}',
        b'{"reqTypeInfo":{"type":"1.2","reqInfo":' + b"[" * 6000 + b"]" * 6000 + b"}}",
        b'{"len":' + b"1" * 5000 + b"}", b'{"a":"' + b"a" * MOST_OCTETS + b'"}',
    ],
)  # fmt: skip
def test_malformed_nonce_requests(body):
    with pytest.raises(Malformed) as error:
        read_nonce_request(body)
    assert error.value.rule == "nonce.request"


def test_nonce_answers():
    assert json.loads(nonce_response(b"\xfb\xff" * 4, 300)) == {
        "nonce": "-__7__v_-_8",
        "expiry": 300,
    }
    assert json.loads(nonce_response(b"", 9, "1.2.3", {"pcrs": [0, 7]})) == {
        "nonce": "",
        "expiry": 9,
        "respTypeInfo": {"type": "1.2.3", "respInfo": {"pcrs": [0, 7]}},
    }

"""No input gives anything but a value or Malformed, from any codec of the wire."""

import base64
from collections.abc import Callable

import pytest
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import VECTORS, mutated, refit, seeds

from est_server.errors import Malformed
from est_server.wire import pkcs10
from est_server.wire.change_subject_name import ChangeSubjectName, change_subject_name
from est_server.wire.cmc import parse_request
from est_server.wire.cms import parse_certs_only
from est_server.wire.csrattrs import (
    AttributeValues,
    Oid,
    encode_csrattrs,
    integer_value,
    oid_value,
    parse_csrattrs,
)
from est_server.wire.est_body import decode_body, encode_body
from est_server.wire.ocsp import parse_ocsp_request
from est_server.wire.pkcs10 import CertificationRequest, parse_csr, verify_signature

SIGNER = parse_csr((VECTORS / "rfc2986/signature_good.der").read_bytes()).public_key
EXAMPLES = examples(200, 0.02)


def _verified(der: bytes) -> CertificationRequest:
    csr = parse_csr(der)
    verify_signature(csr)
    return csr


def _changed(der: bytes) -> ChangeSubjectName | None:
    return change_subject_name(parse_csr(der))


def _signed(ber: bytes) -> None:
    parse_request(ber).verify(SIGNER)


CODECS: dict[str, Callable[[bytes], object]] = {
    "body": decode_body,
    "csr": _verified,
    "keyless": lambda der: parse_csr(der, keyless=True),
    "csrattrs": parse_csrattrs,
    "certs-only": parse_certs_only,
    "ocsp": parse_ocsp_request,
    "change-subject-name": _changed,
    "cmc": _signed,
}
PREFIXES = {"certs-only": "cms.", "change-subject-name": "csr.", "keyless": "csr."}
SEEDS = {codec: seeds("csr" if codec == "keyless" else codec) for codec in CODECS}
SHARES = {
    "body": 0.05,
    "csr": 0.2,
    "keyless": 0.05,
    "csrattrs": 0.12,
    "certs-only": 0.06,
    "ocsp": 0.06,
    "change-subject-name": 0.05,
    "cmc": 0.1,
}
"""Of the long form's inputs; the configuration has the rest."""


def _survives(codec: str, data: bytes) -> None:
    refusal = None
    try:
        counted(codec, lambda: CODECS[codec](data))
    except Malformed as error:
        refusal = error
    if refusal is not None:
        assert refusal.rule.startswith(PREFIXES.get(codec, f"{codec}."))
        assert "\n" not in refusal.message


@pytest.mark.parametrize("codec", CODECS)
def test_random_octets(codec):
    @examples(200, SHARES[codec] / 4)
    @given(data=st.binary(max_size=512))
    def holds(data):
        _survives(codec, data)

    holds()


@pytest.mark.parametrize("codec", CODECS)
def test_changed_vectors(codec):
    @examples(200, SHARES[codec] * 3 / 4)
    @given(random=st.randoms(use_true_random=False))
    def holds(random):
        _survives(codec, mutated(random, SEEDS[codec]))

    holds()


@pytest.mark.parametrize("codec", ["csr", "csrattrs", "certs-only", "ocsp", "cmc"])
def test_every_prefix_of_a_message_is_malformed(codec):
    name = {
        "csr": "rfc2986/attribute_two_kinds.der",
        "csrattrs": "rfc9908/template.der",
        "certs-only": "rfc5652/one_certificate.der",
        "ocsp": "rfc6960/acceptable_responses.der",
        "cmc": "rfc5272/streamed.der",
    }[codec]
    whole = (VECTORS / name).read_bytes()
    CODECS[codec](whole)
    for size in range(len(whole)):
        with pytest.raises(Malformed):
            CODECS[codec](whole[:size])


def test_every_single_octet_of_a_request_matters_or_is_malformed():
    """No octet of a request can change and leave another, valid request."""
    whole = (VECTORS / "rfc2986/attribute_two_kinds.der").read_bytes()
    CODECS["csr"](whole)
    for at in range(len(whole)):
        for bit in (0x01, 0x20, 0x80):
            changed = bytearray(whole)
            changed[at] ^= bit
            with pytest.raises(Malformed):
                CODECS["csr"](bytes(changed))


DER = st.binary(max_size=300).map(
    lambda content: refit(b"\x30\x00" + b"\x04\x82" + len(content).to_bytes(2, "big") + content)
)
SPACE = st.text(" \t\r\n", max_size=3).map(str.encode)


@EXAMPLES
@given(der=DER, wrap=st.booleans())
def test_a_body_comes_back(der, wrap):
    decoded = decode_body(encode_body(der, wrap=wrap), lenient=False)
    assert (decoded.der, decoded.form) == (der, "base64")


@EXAMPLES
@given(der=DER, data=st.data())
def test_white_space_stands_anywhere(der, data):
    text = base64.b64encode(der)
    parts = []
    at = 0
    while at < len(text):
        step = data.draw(st.integers(1, 64))
        parts.append(data.draw(SPACE) + text[at : at + step])
        at += step
    assert decode_body(b"".join(parts) + data.draw(SPACE)).der == der


@EXAMPLES
@given(der=DER, junk=st.integers(0, 255).map(lambda octet: bytes([octet])), data=st.data())
def test_base64_with_anything_else_inside_is_refused(der, junk, data):
    text = base64.b64encode(der)
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \t\r\n"
    at = data.draw(st.integers(1, len(text)))
    if junk in alphabet:
        return
    with pytest.raises(Malformed) as caught:
        decode_body(text[:at] + junk + text[at:])
    assert caught.value.rule == "body.base64"


OIDS = st.lists(st.integers(0, 2**40), min_size=1, max_size=6).map(
    lambda arcs: ".".join(map(str, [1, 2, *arcs]))
)
VALUES = OIDS.map(oid_value) | st.integers(-(2**70), 2**70).map(integer_value)
ITEMS = st.builds(Oid, OIDS) | st.builds(
    AttributeValues,
    OIDS,
    st.lists(VALUES, max_size=4, unique=True).map(lambda values: tuple(sorted(values))),
)


@EXAMPLES
@given(items=st.lists(ITEMS, max_size=20).map(tuple))
def test_csr_attributes_come_back(items):
    assert parse_csrattrs(encode_csrattrs(items)) == items


@pytest.mark.parametrize("codec", ["csr", "csrattrs", "certs-only", "ocsp", "cmc"])
def test_nesting_as_deep_as_a_body_may_be_is_refused(codec):
    der = b""
    while len(der) < 60_000:
        der = refit(b"\x30\x00" + der)
    with pytest.raises(Malformed):
        CODECS[codec](der)


def test_names_beyond_the_limit_are_counted_and_not_looked_at(monkeypatch):
    looked_at = []
    monkeypatch.setattr(
        pkcs10, "require_clean_general_names", lambda names, _: looked_at.extend(names)
    )
    parse_csr((VECTORS / "rfc2986/names_hundred.der").read_bytes())
    assert len(looked_at) == pkcs10.MOST_NAMES
    looked_at.clear()
    with pytest.raises(Malformed):
        parse_csr((VECTORS / "rfc2986/names_hundred_and_one.der").read_bytes())
    assert looked_at == []


def test_a_subject_beyond_the_limit_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(pkcs10, "MOST_SUBJECT_OCTETS", 10)
    monkeypatch.setattr(pkcs10, "require_clean_name", None)
    with pytest.raises(Malformed) as caught:
        parse_csr((VECTORS / "rfc2986/signature_good.der").read_bytes())
    assert caught.value.rule == "csr.subject"

import contextlib

import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.wire.key_protection import (
    ASYMMETRIC_DECRYPT_KEY_IDENTIFIER,
    DECRYPT_KEY_IDENTIFIER,
    SMIME_CAPABILITIES,
    Capability,
    KeyProtection,
    encode_capabilities,
    encode_identifier,
    key_protection,
)
from est_server.wire.pkcs10 import Attribute

# RFC 8551 2.5.2: dES-EDE3-CBC, then rc2CBC with 128 bits, as in its example of S/MIME
CAPABILITIES = (
    Capability("1.2.840.113549.3.7"),
    Capability("1.2.840.113549.3.2", b"\x02\x02\x00\x80"),
)


def read(*attributes):
    return key_protection([Attribute(oid, (value,)) for oid, value in attributes])


def test_the_identifiers_are_those_of_rfc_7030_4_4_1():
    assert DECRYPT_KEY_IDENTIFIER == "1.2.840.113549.1.9.16.2.37"
    assert ASYMMETRIC_DECRYPT_KEY_IDENTIFIER == "1.2.840.113549.1.9.16.2.54"
    assert SMIME_CAPABILITIES == "1.2.840.113549.1.9.15"


def test_a_request_without_them_asks_for_no_encryption():
    assert read() == read(("1.2.3", b"\x05\x00")) == KeyProtection(None, None, None)


def test_each_is_read():
    found = read(
        (DECRYPT_KEY_IDENTIFIER, encode_identifier(b"key-1")),
        (ASYMMETRIC_DECRYPT_KEY_IDENTIFIER, encode_identifier(bytes(20))),
        (SMIME_CAPABILITIES, encode_capabilities(CAPABILITIES)),
    )
    assert found == KeyProtection(b"key-1", bytes(20), CAPABILITIES)


def test_an_empty_list_is_a_list():
    assert read((SMIME_CAPABILITIES, b"\x30\x00")).capabilities == ()


@pytest.mark.parametrize(
    ("oid", "value", "rule"),
    [
        (DECRYPT_KEY_IDENTIFIER, b"\x0c\x01k", "csr.decrypt-key-identifier"),
        (DECRYPT_KEY_IDENTIFIER, b"\x04\x00", "csr.decrypt-key-identifier"),
        (DECRYPT_KEY_IDENTIFIER, encode_identifier(bytes(256)), "csr.decrypt-key-identifier"),
        (
            ASYMMETRIC_DECRYPT_KEY_IDENTIFIER,
            core.Integer(5).dump(),
            "csr.asymmetric-decrypt-key-identifier",
        ),
        (SMIME_CAPABILITIES, b"\x05\x00", "csr.smime-capabilities"),
        (SMIME_CAPABILITIES, b"\x30\x02\x05\x00", "csr.smime-capabilities"),
        (SMIME_CAPABILITIES, b"\x30\x04\x30\x02\x05\x00", "csr.smime-capabilities"),
        (
            SMIME_CAPABILITIES,
            encode_capabilities([Capability("1.2.3")] * 65),
            "csr.smime-capabilities",
        ),
        (SMIME_CAPABILITIES, b"\x31\x00", "csr.smime-capabilities"),
    ],
)
def test_what_is_not_one_is_malformed(oid, value, rule):
    with pytest.raises(Malformed) as refused:
        read((oid, value))
    assert refused.value.rule == rule


@given(
    st.lists(
        st.builds(
            Capability,
            st.lists(st.integers(0, 10**6), min_size=1, max_size=8).map(
                lambda arcs: ".".join(map(str, (1, 2, *arcs)))
            ),
            st.none() | st.integers().map(lambda number: core.Integer(number).dump()),
        ),
        max_size=64,
    )
)
def test_any_list_comes_back(capabilities):
    encoded = encode_capabilities(capabilities)
    assert read((SMIME_CAPABILITIES, encoded)).capabilities == tuple(capabilities)


@given(st.sampled_from((DECRYPT_KEY_IDENTIFIER, SMIME_CAPABILITIES)), st.binary(min_size=2))
def test_no_octets_give_anything_but_a_value_or_malformed(oid, value):
    with contextlib.suppress(Malformed):
        assert read((oid, value)) != KeyProtection()

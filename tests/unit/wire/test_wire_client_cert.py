"""Client-Cert and Client-Cert-Chain (RFC 9440)."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.wire.client_cert import MOST_CERTIFICATES, read_client_chain

OCTETS = st.binary(min_size=1, max_size=200)


def item(octets: bytes) -> str:
    return f":{b64encode(octets).decode()}:"


@given(OCTETS, st.lists(OCTETS, max_size=MOST_CERTIFICATES - 1), st.integers(0, 8))
def test_what_a_proxy_writes_is_read(leaf, above, cut):
    """The lines of a list are one list, wherever they are cut (RFC 9110 5.3)."""
    members = [item(one) for one in above]
    lines = [", ".join(members[:cut]), " ,\t".join(members[cut:])]
    found = read_client_chain([item(leaf)], [line for line in lines if line])
    assert found == (leaf, *above)


def test_without_the_fields_there_is_no_certificate():
    assert read_client_chain([], []) == ()


@pytest.mark.parametrize(
    ("leaf", "chain"),
    [
        ([":QUI=:", ":QUI=:"], []),  # twice
        ([":QUI=:, :QUI=:"], []),  # a list
        (["QUI="], []),  # without colons
        ([":QUI=:;q=1"], []),  # parameters have no meaning here
        ([":QUI:"], []),  # without its padding
        ([":Q_I=:"], []),  # the URL-safe alphabet
        ([":Q UI=:"], []),
        (["::"], []),
        ([""], []),
        ([":QUI=:"], [""]),
        ([":QUI=:"], [":QUI=:,"]),
        ([":QUI=:"], ["token"]),
        ([], [":QUI=:"]),  # a chain without its leaf
        ([":QUI=:"], [",".join([":QUI=:"] * MOST_CERTIFICATES)]),
        (["-----BEGIN CERTIFICATE-----"], []),
    ],
)
def test_anything_else_is_malformed(leaf, chain):
    with pytest.raises(Malformed, match=r"^(?!.*QUI).*$") as refused:
        read_client_chain(leaf, chain)
    assert refused.value.rule == "client-cert.malformed"


@given(st.lists(st.text(), max_size=3), st.lists(st.text(), max_size=3))
def test_no_text_gives_another_failure(leaf, chain):
    with suppress(Malformed):
        assert all(read_client_chain(leaf, chain))

"""Lines between a server and its signing process."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.pkcs11_messages import Failed, Opened, Opening, decode, encode

TEXT = st.text(max_size=20)
MESSAGES = st.one_of(
    st.builds(
        Opening, TEXT, st.dictionaries(TEXT, TEXT | st.integers()), TEXT, st.integers(),
        st.none() | TEXT, st.none() | TEXT, TEXT, st.sampled_from(["PKCS1v15", "PSS"]),
        st.none() | TEXT,
    ),
    st.builds(Opened, TEXT, st.none() | TEXT),
    st.builds(Failed, TEXT, TEXT, st.booleans()),
    st.lists(st.tuples(st.integers(), st.binary(max_size=64)), max_size=5).map(tuple),
)  # fmt: skip


@given(MESSAGES)
def test_what_is_said_is_understood(message):
    line = encode(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == message


@given(st.binary(max_size=100) | st.from_regex(rb'[\[\]{}":,0-9a-f]{0,60}', fullmatch=True))
def test_no_line_does_anything_but_fail(line):
    try:
        decode(line)
    except ValueError:
        return


@pytest.mark.parametrize("line", [b"null", b"1", b"[1]", b'[["a", 1]]', b'{"Opening": {"x": 1}}'])
def test_what_is_no_message(line):
    with pytest.raises(ValueError, match=r"message|invalid literal"):
        decode(line)


def test_a_pin_is_in_no_repr():
    assert "secret" not in repr(Opening("/m", {}, "secret", 1))

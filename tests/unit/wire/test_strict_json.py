"""JSON that every reader reads alike."""

from __future__ import annotations

import contextlib
import json

import pytest
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from est_server.wire.strict_json import DEEPEST, read_json


@pytest.mark.parametrize(
    "octets",
    [
        b"", b"{", b'{"a":1,"a":1}', b'{"a":{"b":1,"b":2}}', b"NaN", b"[Infinity]", b"-Infinity",
        b"1e999", b'"\\ud800"', b'{"\\udfff":1}', b'["\\ud83d","\\ude00"]', b"\xff", b"1 2",
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), b"[" * 100_000, b'{"a":' * 100_000,
        b"9" * 5000,
    ],
)  # fmt: skip
def test_what_readers_differ_about_is_refused(octets):
    with pytest.raises(ValueError):
        read_json(octets)


def test_what_is_nested_as_deeply_as_may_be_is_read():
    assert read_json(b"[" * DEEPEST + b"]" * DEEPEST)
    assert read_json(b'{"a":["\\ud83d\\ude00",1.5,null,true]}') == {
        "a": ["\U0001f600", 1.5, None, True]
    }


@examples(200, 0.01)
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
))  # fmt: skip
def test_what_is_read_can_be_kept(value):
    octets = json.dumps(value).encode()
    try:
        found = read_json(octets)
    except ValueError:
        return  # too deep
    assert found == value
    assert json.dumps(found, ensure_ascii=False).encode()


@examples(200, 0.01)
@given(st.binary(max_size=200))
def test_no_octets_give_anything_but_an_answer(octets):
    with contextlib.suppress(ValueError):
        json.dumps(read_json(octets), ensure_ascii=False, allow_nan=False).encode()

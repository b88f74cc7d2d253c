"""Leaves: one encoding, nothing else is read, and altered columns are named."""

from __future__ import annotations

import json
from binascii import crc32
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.audit.leaf import (
    MOST_OCTETS,
    Leaf,
    LeafRow,
    altered,
    decode_leaf,
    digest_and_marks,
    encode_leaf,
    marked,
    value_of,
)
from est_server.errors import Malformed

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VALUES = st.one_of(st.none(), st.integers(-(1 << 63), (1 << 63) - 1), TEXT)
ROWS = st.builds(
    lambda table, key, fixed, plain, removed: LeafRow(
        table, tuple(key), *(digest_and_marks(fixed) if fixed else (None, "")), plain, removed
    ),
    TEXT,
    st.lists(TEXT, max_size=3),
    st.lists(VALUES, max_size=5),
    st.dictionaries(TEXT, VALUES, max_size=4),
    st.booleans(),
)
LEAVES = st.builds(
    lambda act, actor, at, rows: Leaf(act, actor, at, tuple(rows)),
    TEXT,
    TEXT,
    st.integers(0, 253402300799999999),
    st.lists(ROWS, max_size=4),
)


@given(LEAVES)
def test_reads_what_it_writes(leaf):
    data = encode_leaf(leaf)
    assert decode_leaf(data) == leaf
    assert json.loads(data)["at"].endswith("Z")


@given(LEAVES)
def test_is_json_with_sorted_keys_and_nothing_between(leaf):
    data = encode_leaf(leaf).decode()
    again = json.dumps(json.loads(data), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    assert data == again


def test_has_the_documented_form():
    digest, marks = digest_and_marks(["d_1", None, 7, b"csr", ""])
    assert digest == sha256(b"3,-,1,3,0\nd_17csr").digest()
    assert marks == "".join(
        f"{crc32(one) & 0xFFFF:04x}" for one in (b"d_1", b"", b"7", b"csr", b"")
    )
    assert value_of(b"csr") == f"sha256:{sha256(b'csr').hexdigest()}"
    leaf = Leaf("decided", "SN-1", 1_000_001, (
        LeafRow("decisions", ("d_1",), digest, marks, {"verdict": "deny"}),
    ))  # fmt: skip
    assert encode_leaf(leaf).decode() == (
        '{"act":"decided","actor":"SN-1","at":"1970-01-01T00:00:01.000001Z","rows":'
        f'[{{"key":["d_1"],"marks":"{marks}","plain":{{"verdict":"deny"}},'
        f'"sha256":"{digest.hex()}","table":"decisions"}}]}}'
    )


@given(st.lists(VALUES, min_size=1, max_size=8), st.data())
def test_names_the_column(values, data):
    digest, marks = digest_and_marks(values)
    assert marked(marks) == len(values)
    assert altered(marks, values) == []
    place = data.draw(st.integers(0, len(values) - 1))
    other = [*values]
    other[place] = data.draw(VALUES.filter(lambda value: value != values[place]))
    assert digest_and_marks(other)[0] != digest
    assert altered(marks, other) in ([place], [])  # one in 65,536 has the same mark


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b'"act":', b'"act": '),
        lambda data: data.replace(b"decided", b"d\\u0065cided"),
        lambda data: data.replace(b'{"act"', b'{"aaa":1,"act"'),
        lambda data: data.replace(b"00:00:01.000001Z", b"00:00:01Z"),
        lambda data: data.replace(b"00:00:01.000001Z", b"99:00:01.000001Z"),
        lambda data: data.replace(b'"deny"', b"1.5"),
        lambda data: data.replace(b'"deny"', b"true"),
        lambda data: data.replace(b'"deny"', b"NaN"),
        lambda data: data.replace(b'["d_1"]', b"[1]"),
        lambda data: data.replace(b'"decisions"', b"null"),
        lambda data: data.replace(b'"sha256":"', b'"sha256":"X'),
        lambda data: data.replace(b'"marks":"', b'"marks":"X'),
        lambda data: data + b" ",
        lambda data: data[:-1],
        lambda data: b"[" * 100_000,
        lambda data: data.replace(b"SN-1", b"a" * MOST_OCTETS),  # a leaf, but for its length
        lambda data: b"\xff",
        lambda data: b"[]",
        lambda data: b"null",
    ],
)
def test_reads_nothing_else(change):
    row = LeafRow("decisions", ("d_1",), *digest_and_marks(["d_1"]), {"verdict": "deny"})
    data = encode_leaf(Leaf("decided", "SN-1", 1_000_001, (row,)))
    changed = change(data)
    assert changed != data
    with pytest.raises(Malformed, match="no leaf"):
        decode_leaf(changed)


@given(st.one_of(st.binary(), st.recursive(
    VALUES, lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["act", "actor", "at", "rows", "key", "table", "plain", "marks"]), inner
    ),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_raises_nothing_else(data):
    with suppress(Malformed):
        decode_leaf(data)

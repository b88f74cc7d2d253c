"""Extensions of DICE certificates, bytes to values."""

from __future__ import annotations

from typing import Any

import pytest
from dice_device import SHA_256, fwid, tcb_info
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import mutated
from tokens import der

from est_server.errors import Malformed
from est_server.wire import dice

WHOLE = {
    "vendor": "TestCo", "model": "Ödgebox", "version": "1.4", "svn": 300, "layer": 1, "index": 0,
    "fwids": [bytes(range(32))], "flags": 0b1001, "vendor_info": b"v", "type": b"t", "mask": 0b1111,
}  # fmt: skip
REGISTERS = der(0xAB, der(0x30, der(0x02, b"\0"), der(0xA0, fwid(bytes(32)))))


def with_fields(*parts: bytes) -> bytes:
    return der(0x30, *parts)


def code(read: Any, data: bytes) -> str:
    with pytest.raises(Malformed) as error:
        read(data)
    return error.value.rule


def test_every_field():
    found = dice.read_tcb_info(tcb_info(**WHOLE))
    assert found == dice.TcbInfo(
        "TestCo", "Ödgebox", "1.4", 300, 1, 0, (dice.Fwid("sha256", bytes(range(32))),),
        frozenset({"notConfigured", "debug"}), b"v", b"t",
        frozenset({"notConfigured", "notSecure", "recovery", "debug"}),
    )  # fmt: skip


def test_nothing_is_a_tcb_info_too():
    assert dice.read_tcb_info(b"0\0") == dice.TcbInfo()
    assert dice.read_tcb_info(with_fields(REGISTERS)) == dice.TcbInfo()


@pytest.mark.parametrize(
    ("octets", "names"),
    [
        ("00", set()),
        ("0700", set()),
        ("0780", {"notConfigured"}),
        ("0410", {"debug"}),
        ("0000000001", set()),  # fixedWidth alone
        ("00ff800000", set(dice.FLAGS)),
    ],
)
def test_flags_as_short_as_they_may_be(octets, names):
    found = dice.read_tcb_info(with_fields(der(0x87, bytes.fromhex(octets))))
    assert found.flags == names


@pytest.mark.parametrize(("algorithm", "size"), [("1", 32), ("2", 48), ("3", 64)])
def test_hashes(algorithm, size):
    one = fwid(bytes(size), SHA_256[:-1] + algorithm)
    assert dice.read_tcb_info(with_fields(der(0xA6, one))).fwids[0].digest == bytes(size)
    short = fwid(bytes(size - 1), SHA_256[:-1] + algorithm)
    assert code(dice.read_tcb_info, with_fields(der(0xA6, short))) == "dice.hash"


def test_a_digest_by_sha1():
    one = fwid(bytes(20), "1.3.14.3.2.26")
    assert code(dice.read_tcb_info, with_fields(der(0xA6, one))) == "dice.hash"


DEFECTS = {
    "empty": b"",
    "no-sequence": der(0x31),
    "octets-behind": with_fields() + b"\0",
    "indefinite": b"\x30\x80\0\0",
    "truncated": tcb_info(**WHOLE)[:-1],
    "unknown-field": with_fields(der(0x8C, b"")),
    "universal-tag": with_fields(der(0x0C, b"TestCo")),
    "twice": with_fields(der(0x80, b"a"), der(0x80, b"b")),
    "descending": with_fields(der(0x81, b"a"), der(0x80, b"b")),
    "constructed-text": with_fields(der(0xA0, der(0x0C, b"a"))),
    "not-utf-8": with_fields(der(0x80, b"\xff")),
    "negative": with_fields(der(0x83, b"\xff")),
    "no-number": with_fields(der(0x83, b"")),
    "long-form-number": with_fields(der(0x83, b"\0\x01")),
    "huge-number": with_fields(der(0x83, b"\x01" * 9)),
    "no-digests": with_fields(der(0xA6)),
    "digest-without-algorithm": with_fields(der(0xA6, der(0x30, der(4, bytes(32))))),
    "primitive-digests": with_fields(der(0x86, b"")),
    "no-flags": with_fields(der(0x87, b"")),
    "unused-bits-set": with_fields(der(0x87, b"\x07\xff")),
    "unused-bits-of-nothing": with_fields(der(0x87, b"\x01")),
    "eight-unused-bits": with_fields(der(0x87, b"\x08\0")),
    "many-flags": with_fields(der(0x87, bytes(6))),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_malformed(name):
    assert code(dice.read_tcb_info, DEFECTS[name]) == "dice.encoding"


def test_lists_are_counted_before_they_are_read():
    many = der(0x30, *[b"0\0"] * (dice.MOST_ENVIRONMENTS + 1))
    assert code(dice.read_multi_tcb_info, many) == "dice.too-many"
    digests = der(0xA6, *[fwid(bytes(32))] * (dice.MOST_FWIDS + 1))
    assert code(dice.read_tcb_info, with_fields(digests)) == "dice.too-many"
    assert code(dice.read_tcb_info, with_fields(der(0x80, b"v" * 257))) == "dice.too-large"
    assert code(dice.read_tcb_info, with_fields(der(0x88, bytes(9000)))) == "dice.too-large"


def test_several():
    both = der(0x30, tcb_info(layer=1), tcb_info(layer=2))
    assert [one.layer for one in dice.read_multi_tcb_info(both)] == [1, 2]
    assert code(dice.read_multi_tcb_info, b"0\0") == "dice.encoding"
    assert code(dice.read_multi_tcb_info, der(0x30, der(4))) == "dice.encoding"


@pytest.mark.parametrize(
    ("read", "least", "most"), [(dice.read_ueid, 7, 33), (dice.read_tcb_freshness, 8, 64)]
)
def test_octet_strings_and_their_sizes(read, least, most):
    for size in (least, most):
        assert read(der(0x30, der(4, bytes(size)))) == bytes(size)
    for content in (der(4, bytes(least - 1)), der(4, bytes(most + 1)), b"", der(3, bytes(9)),
                    der(4, bytes(9)) * 2):  # fmt: skip
        assert code(read, der(0x30, content)).startswith("dice.")


NUMBERS = st.integers(min_value=0, max_value=2**63 - 1)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "vendor": st.text(max_size=60),
        "version": st.text(max_size=60),
        "svn": NUMBERS,
        "layer": NUMBERS,
        "fwids": st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=16),
        "flags": st.integers(min_value=0, max_value=511),
        "type": st.binary(max_size=40),
        "mask": st.integers(min_value=0, max_value=511),
    },
)


@given(SAID)
def test_what_was_written_is_read(said):
    found = dice.read_tcb_info(tcb_info(**said))
    for field in ("vendor", "version", "svn", "layer", "type"):
        assert getattr(found, field) == said.get(field)
    assert [one.digest for one in found.fwids] == said.get("fwids", [])
    for field, name in (("flags", "flags"), ("flags_mask", "mask")):
        bits = said.get(name)
        names = bits if bits is None else {
            flag for bit, flag in enumerate(dice.FLAGS) if bits >> bit & 1
        }  # fmt: skip
        assert getattr(found, field) == names


SEEDS = [tcb_info(**WHOLE), der(0x30, tcb_info(**WHOLE), tcb_info(layer=2))]
READERS = (dice.read_tcb_info, dice.read_multi_tcb_info, dice.read_ueid, dice.read_tcb_freshness)


@examples(300, 0.05)
@given(st.randoms(use_true_random=False))
def test_no_octets_give_anything_but_a_value_or_malformed(random):
    data = mutated(random, SEEDS)
    for read in READERS:
        try:
            counted("dice", lambda read=read: read(data))
        except Malformed as error:
            assert error.rule.startswith("dice.")  # noqa: PT017

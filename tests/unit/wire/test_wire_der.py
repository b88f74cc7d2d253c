import pytest

from est_server.errors import Malformed
from est_server.wire.der import (
    children,
    content_of,
    octet_strings,
    read_element,
    require_one_sequence,
    unsigned,
)


def _sequence(size: int) -> bytes:
    header = b"\x30" + (
        bytes([size]) if size < 128 else bytes([0x80 | (size.bit_length() + 7) // 8])
    )
    if size >= 128:
        header += size.to_bytes((size.bit_length() + 7) // 8, "big")
    return header + bytes(size)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65535, 65536])
def test_every_length_form_is_read(size):
    der = _sequence(size)
    require_one_sequence(der, "x")
    assert read_element(der) == (0x30, len(der) - size, len(der))


@pytest.mark.parametrize(
    ("der", "rule"),
    [
        (b"", "x.encoding"),
        (b"\x30", "x.encoding"),
        (b"\x31\x00", "x.encoding"),
        (b"\x30\x01", "x.encoding"),
        (b"\x30\x80\x00\x00", "x.encoding"),
        (b"\x30\x81", "x.encoding"),
        (b"\x30\x81\x01\x00", "x.encoding"),
        (b"\x30\x81\x7f" + bytes(127), "x.encoding"),
        (b"\x30\x82\x00\x80" + bytes(128), "x.encoding"),
        (b"\x30\x85\x01\x00\x00\x00\x00", "x.encoding"),
        (b"\x30\xff", "x.encoding"),
        (b"\x30\x00\x00", "x.trailing-bytes"),
        (_sequence(128) + b"\x00", "x.trailing-bytes"),
    ],
)
def test_anything_else_is_refused(der, rule):
    with pytest.raises(Malformed) as caught:
        require_one_sequence(der, "x")
    assert caught.value.rule == rule


def test_children_are_cut_out_as_sent():
    assert children(b"\x30\x07\x02\x01\x05\x30\x00\x05\x00") == [
        b"\x02\x01\x05",
        b"\x30\x00",
        b"\x05\x00",
    ]


@pytest.mark.parametrize("der", [b"\x30\x02\x02\x01", b"\x30\x03\x1f\x01\x00", b"\x30\x01\x02"])
def test_children_that_do_not_fit_are_an_error(der):
    with pytest.raises(ValueError, match="DER"):
        children(der)


@pytest.mark.parametrize("der", ["", "04", "0401aabb", "0301aa", "0402aa"])
def test_anything_but_the_one_element_is_refused(der):
    assert content_of(bytes.fromhex("0401aa"), 0x04) == b"\xaa"
    with pytest.raises(ValueError, match="element|cut short"):
        content_of(bytes.fromhex(der), 0x04)


@pytest.mark.parametrize(
    "der",
    ["3000", "30030401aa", "30090401aa0401bb0401cc", "30060401aa0301bb", "31060401aa0401bb",
     "30060401aa0401bb00", "30050401aa0401bb"],
)  # fmt: skip
def test_anything_but_so_many_octet_strings_is_refused(der):
    assert octet_strings(bytes.fromhex("30050401aa0400"), 2) == [b"\xaa", b""]
    with pytest.raises(ValueError, match="OCTET|element|cut short"):
        octet_strings(bytes.fromhex(der), 2)


@pytest.mark.parametrize("number", [0, 127, 128, 255, 256, 2**63 - 1])
def test_a_number_has_one_form(number):
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    assert unsigned(octets) == number
    for wrong in (b"\0" + octets, b"\x80" + octets, b""):
        with pytest.raises(ValueError, match="a number is"):
            unsigned(wrong)
    with pytest.raises(ValueError, match="63 bits"):
        unsigned((2**63).to_bytes(9, "big"))

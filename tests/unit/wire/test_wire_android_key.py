"""Android's key description, bytes to values."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from android_device import HARDWARE, application, description, number, octets, root_of_trust, tagged
from cryptography import x509
from fuzzing import counted, examples
from hypothesis import given
from hypothesis import strategies as st
from mutations import VECTORS, mutated
from tokens import der

from est_server.errors import Malformed
from est_server.wire import android_key
from est_server.wire.android_key import read_key_description, read_statement


def code(data: bytes, read: Any = read_key_description) -> str:
    with pytest.raises(Malformed) as error:
        read(data)
    return error.value.rule


def with_list(content: bytes) -> bytes:
    """Return a description whose hardware list has these octets in it."""
    good = (number(400), number(1, 10), number(400), number(1, 10), octets(b"c"), octets(b""))
    return der(0x30, *good, der(0x30), der(0x30, content))


def test_every_field():
    found = read_key_description(
        description(b"challenge", 300, 2, 1, t600=b"\x05\0", t710=octets(b"brand"),
                    t713=octets(b"SN-1"), t723=octets(b"imei"))
    )  # fmt: skip
    assert (found.version, found.security_level, found.keymint_security_level) == (300, 2, 1)
    assert (found.challenge, found.unique_id) == (b"challenge", b"")
    said = found.hardware
    assert (said.purposes, said.origin, said.algorithm, said.key_size) == (
        {"sign"}, "generated", 3, 256,
    )  # fmt: skip
    assert said.all_applications
    assert said.root_of_trust == android_key.RootOfTrust(
        bytes(range(32)), True, "verified", bytes(32)
    )
    assert said.identifiers == {"brand": "brand", "serial": "SN-1", "second_imei": "imei"}
    assert found.software.application is not None
    assert found.software.application.packages == ("net.example.enroll",)
    assert found.software.root_of_trust is None


def test_a_published_one():
    leaf = x509.load_pem_x509_certificates((VECTORS / "android-key" / "chain.pem").read_bytes())[0]
    (value,) = [
        one.value.public_bytes()
        for one in leaf.extensions
        if one.oid.dotted_string == android_key.KEY_DESCRIPTION
    ]
    found = read_key_description(value)
    assert (found.version, found.challenge) == (200, b"challenge")
    assert found.hardware.os_patch_level == 202302
    assert found.hardware.vendor_patch_level == 20230205


@pytest.mark.parametrize("name", ["chain.pem", "forged.pem"])
def test_published_certificates_are_as_they_were(name):
    """Each is signed by the next; so is the last of the forged chain by the other's second."""
    chain, forged = (
        x509.load_pem_x509_certificates((VECTORS / "android-key" / one).read_bytes())
        for one in ("chain.pem", "forged.pem")
    )
    path = chain if name == "chain.pem" else [*forged, *chain[1:]]
    for below, above in pairwise(path):
        below.verify_directly_issued_by(above)


def test_a_root_of_trust_of_old():
    """Before version 3 there was no verifiedBootHash."""
    old = der(0x30, octets(bytes(32)), der(1, b"\xff"), number(0, 10))
    said = read_key_description(description(b"c", 2, t704=old)).hardware
    assert said.root_of_trust is not None
    assert said.root_of_trust.boot_hash is None


def test_other_tags_are_read_over_in_any_order():
    content = tagged(9999, b"\x05\0") + tagged(706, number(202605)) + tagged(2, number(3))
    assert read_key_description(with_list(content)).hardware.os_patch_level == 202605


DEFECTS = {
    "empty": b"",
    "octets-behind": description(b"c") + b"\0",
    "truncated": description(b"c")[:-1],
    "seven-fields": der(0x30, *[number(400)] * 7),
    "level-as-integer": description(b"c").replace(number(1, 10), number(1, 2), 1),
    "level-of-three": description(b"c", level=3),
    "negative-version": der(0x30, der(2, b"\xff"), *[octets(b"")] * 7),
    "tag-twice": with_list(tagged(706, number(1)) + tagged(706, number(2))),
    "implicit-tag": with_list(b"\x80\x01\x01"),
    "universal-tag": with_list(number(1)),
    "indefinite-tag": with_list(b"\xa2\x80\x02\x01\x03\0\0"),
    "long-length": with_list(b"\xa2\x81\x03\x02\x01\x03"),
    "two-values-in-a-tag": with_list(tagged(706, number(1) + number(2))),
    "empty-tag": with_list(tagged(706, b"")),
    "cut-tag": with_list(b"\xbf"),
    "huge-number": with_list(tagged(706, der(2, b"\x01" * 9))),
    "long-form-number": with_list(tagged(706, der(2, b"\0\x01"))),
    "no-origin": with_list(tagged(702, number(9))),
    "no-purpose": with_list(tagged(1, der(0x31, number(8)))),
    "boolean-of-one": description(b"c", t704=root_of_trust().replace(b"\x01\x01\xff", b"\1\1\1")),
    "boot-state-of-four": description(b"c", t704=root_of_trust(state=4)),
    "root-of-trust-of-two": description(b"c", t704=der(0x30, octets(b"k"), der(1, b"\xff"))),
    "null-with-content": description(b"c", t600=der(5, b"\0")),
    "name-not-utf-8": description(b"c", t710=octets(b"\xff")),
    "application-of-one": description(b"c", t709=octets(der(0x30, der(0x31)))),
    "application-no-octets": description(b"c", t709=der(0x30, der(0x31), der(0x31))),
    "package-of-one": description(
        b"c", t709=octets(der(0x30, der(0x31, der(0x30, octets(b"p"))), der(0x31)))
    ),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_malformed(name):
    assert code(DEFECTS[name]) == "android-key.encoding"


def test_versions_that_nobody_knows():
    assert code(description(b"c", 0)) == "android-key.version"
    assert code(description(b"c", 401)) == "android-key.version"


def test_lists_are_counted_and_sizes_capped():
    many = b"".join(tagged(1000 + tag, b"\x05\0") for tag in range(65))
    assert code(with_list(many)) == "android-key.too-many"
    packages = tuple(f"p{number}" for number in range(17))
    assert code(description(b"c", t709=application(packages))) == "android-key.too-many"
    assert code(description(b"c" * 9000)) == "android-key.too-large"
    assert code(description(b"c", t710=octets(b"b" * 513))) == "android-key.too-large"


def test_a_statement_is_a_digest():
    assert read_statement(octets(bytes(32))) == bytes(32)
    for wrong in (b"", octets(bytes(31)), octets(bytes(32)) + b"\0", der(3, bytes(32))):
        assert code(wrong, read_statement) == "android-key.encoding"


NUMBERS = st.integers(min_value=0, max_value=2**63 - 1)


@given(
    challenge=st.binary(max_size=128), version=st.sampled_from([1, 2, 3, 4, 100, 200, 300, 400]),
    level=st.sampled_from([0, 1, 2]), patch=NUMBERS, locked=st.booleans(),
    state=st.sampled_from(range(4)), names=st.lists(st.text(max_size=40), max_size=16),
)  # fmt: skip
def test_what_was_written_is_read(challenge, version, level, patch, locked, state, names):
    found = read_key_description(
        description(
            challenge, version, level, t706=number(patch), t704=root_of_trust(locked, state),
            software={709: application(tuple(names))},
        )
    )  # fmt: skip
    assert (found.challenge, found.version, found.security_level) == (challenge, version, level)
    root = found.hardware.root_of_trust
    assert root is not None
    assert (root.locked, root.boot_state) == (locked, android_key.BOOT_STATES[state])
    assert found.hardware.os_patch_level == patch
    assert found.software.application is not None
    assert found.software.application.packages == tuple(names)


SEEDS = [
    description(b"n" * 32),
    description(b"c", t710=octets(b"b"), t713=octets(b"s")),
    with_list(b"".join(tagged(tag, value) for tag, value in HARDWARE.items())),
]


@examples(300, 0.05)
@given(st.randoms(use_true_random=False))
def test_no_octets_give_anything_but_a_value_or_malformed(random):
    data = mutated(random, SEEDS)
    try:
        counted("android-key", lambda: read_key_description(data))
    except Malformed as error:
        assert error.rule.startswith("android-key.")  # noqa: PT017

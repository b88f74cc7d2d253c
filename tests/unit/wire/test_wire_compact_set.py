"""Compact sets: exact for every certificate that exists, and nothing but that or Malformed."""

from __future__ import annotations

import random
import subprocess
from dataclasses import replace

import pytest
from compact_set_world import (
    DAY,
    EC,
    INTEROP,
    NOW,
    authority,
    content,
    filter_of,
    other_checker,
    signed,
    signed_set,
)  # fmt: skip
from cryptography.exceptions import InvalidSignature
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.wire import cms_by_ca
from est_server.wire.cms_by_ca import verify_by_ca
from est_server.wire.cms_signed import signed_attributes
from est_server.wire.compact_set import (
    CONTENT_TYPE,
    MOST_OCTETS,
    decode_compact_set,
    encode_compact_set,
    serial_octets,
)
from est_server.wire.ribbon import BAND, build

SERIALS = st.integers(1, (1 << 160) - 1)
MOST = 1 << 20


def told(found, serials):
    return {serial for serial in serials if found.has(serial_octets(serial))}


@examples(300, 0.05)
@given(serials=st.sets(SERIALS, min_size=1, max_size=300), data=st.data())
def test_of_any_universe_exactly_the_members_are_told(serials, data):
    bad = data.draw(st.sets(st.sampled_from(sorted(serials))))
    made = content(bad, serials - bad)
    read = decode_compact_set(encode_compact_set(made))
    assert read == made
    answers = {
        serial: read.answer(serial, NOW - 2 * DAY, NOW + DAY) == "revoked" for serial in serials
    }
    assert answers == {serial: serial in bad for serial in serials}


@pytest.mark.parametrize("share", [0.0005, 0.01, 0.1, 0.5, 0.9, 1.0])
def test_of_many_exactly_the_members_are_told(share):
    chance = random.Random(share)
    serials = [chance.getrandbits(159) | 1 for _ in range(6000)]
    bad, good = set(serials[: int(6000 * share)]), set(serials[int(6000 * share) :])
    found = filter_of(sorted(bad), sorted(good))
    assert told(found, serials) == bad


def test_numbers_in_a_row_are_as_good_as_random_ones():
    serials = range(1, 4001)
    found = filter_of([one for one in serials if one % 40 == 0], [n for n in serials if n % 40])
    assert told(found, serials) == {*range(40, 4001, 40)}


def test_a_set_needs_little_more_than_is_possible():
    chance = random.Random(1)
    serials = [chance.getrandbits(159) for _ in range(60000)]
    found = filter_of(serials[:6000], serials[6000:])
    bits = 8 * (sum(map(len, found.sieve)) + len(found.decision)) / 6000
    assert bits < 1.25 * 4.69  # the entropy of one in ten


def test_the_same_seed_makes_the_same_set():
    keys = [bytes([n]) * 9 for n in range(200)]
    assert build(keys[:20], keys[20:], bytes(8)) == build(keys[:20], keys[20:], bytes(8))
    assert build(keys[:20], keys[20:], bytes(8)) != build(keys[:20], keys[20:], b"another.")


def test_a_seed_that_does_not_work_is_said_to_be_none():
    """One key on both sides is what no seed can tell apart: its equations contradict each other."""
    assert build([b"a", b"b"], [b"b", b"c"], bytes(8)) is None


@pytest.mark.parametrize(
    ("begins", "ends", "answer"),
    [
        (NOW - DAY, NOW, "revoked"),
        (NOW - 300 * DAY, NOW + DAY, "revoked"),
        (NOW - 301 * DAY, NOW + DAY, "not-covered"),  # before what the ledger knows
        (NOW - DAY / 48, NOW + DAY, "not-covered"),  # perhaps issued after the set was made
        (NOW - DAY, NOW - DAY / 48, "not-covered"),  # ended
    ],
)
def test_who_is_not_covered_is_not_good(begins, ends, answer):
    assert content({5}, {6, 7}).answer(5, begins, ends) == answer
    if answer == "not-covered":
        assert content({5}, {6, 7}).answer(6, begins, ends) == answer


@pytest.mark.parametrize("algorithm", ["EC-P256", "EC-P384", "RSA-3072", "Ed25519", "ML-DSA-65"])
def test_the_ca_certificate_is_enough_to_believe_it(algorithm):
    octets = encode_compact_set(content({5}, {6, 7}))
    der, ca = signed(octets, algorithm), authority(algorithm).certificate
    assert verify_by_ca(der, CONTENT_TYPE, ca, most_octets=MOST) == octets
    assert other_checker().signed_content(der, ca) == octets


@examples(200, 0.05)
@given(serials=st.sets(SERIALS, min_size=2, max_size=80), data=st.data())
def test_another_implementation_says_the_same(serials, data):
    bad = data.draw(st.sets(st.sampled_from(sorted(serials))))
    made = content(bad, serials - bad)
    checker, octets = other_checker(), encode_compact_set(made)

    class Certificate:
        not_valid_before_utc, not_valid_after_utc = NOW - 2 * DAY, NOW + DAY

        def __init__(self, serial_number):
            self.serial_number = serial_number

        def verify_directly_issued_by(self, ca):
            pass

    for serial in serials:
        found, _ = checker.answer(octets, None, Certificate(serial), NOW.timestamp(), 7)
        assert found == made.answer(serial, NOW - 2 * DAY, NOW + DAY)
        assert (found == "revoked") == (serial in bad)


def test_thirty_lines_of_c_say_the_same(need, tmp_path):
    need("gcc libc6-dev", "cc")
    program = tmp_path / "check"
    flags = ("-std=gnu99", "-Wall", "-Wextra", "-Werror", "-fsanitize=undefined", "-O1")
    subprocess.run(["cc", *flags, "-o", program, INTEROP / "check_set.c"], check=True, timeout=60)
    chance = random.Random(3)
    serials = [chance.getrandbits(152) for _ in range(300)]
    made = content(serials[:40], serials[40:])
    file = tmp_path / "content"
    file.write_bytes(encode_compact_set(made))
    for serial in serials[20:60]:
        for begins, ends in ((NOW - DAY, NOW + DAY), (NOW, NOW + DAY), (NOW - DAY, NOW - DAY)):
            times = (str(int(begins.timestamp())), str(int(ends.timestamp())))
            command = [program, file, f"{serial:040x}", *times]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            answer = made.answer(serial, begins, ends)
            assert (done.stdout.strip(), done.stderr) == (answer, "")
            assert done.returncode == {"good": 0, "revoked": 1, "not-covered": 3}[answer]


# -- what is no compact set ------------------------------------------------------------------------
OCTETS = encode_compact_set(content(range(1, 30), range(100, 900)))


def test_every_prefix_is_malformed_and_so_is_an_octet_more():
    for size in range(len(OCTETS)):
        with pytest.raises(Malformed, match=r"compact-set\.encoding"):
            decode_compact_set(OCTETS[:size])
    with pytest.raises(Malformed, match=r"compact-set\.encoding"):
        decode_compact_set(OCTETS + b"\0")


@pytest.mark.parametrize(
    ("at", "value", "rule"),
    [
        (0, b"CSEt", "encoding"),
        (4, b"\2", "version"),
        (5, b"\xff", "encoding"),  # columns
        (6, b"\0", "encoding"),  # no key identifier
        (7, b"\1", "encoding"),
        (16, b"\xff" * 8, "encoding"),  # a time that no calendar has
        (64, b"\0\0\0\1", "encoding"),  # more that are bad than there are
        (72, b"\xff\xff\xff\xff", "encoding"),
        (72, b"\0\0\0\0", "encoding"),
        (76, b"\xff\xff\xff\xff", "encoding"),
        (76, BAND.to_bytes(4, "big"), "encoding"),
    ],
)
def test_a_header_that_does_not_fit_is_malformed(at, value, rule):
    octets = OCTETS[:at] + value + OCTETS[at + len(value) :]
    with pytest.raises(Malformed, match=rf"compact-set\.{rule}"):
        decode_compact_set(octets)


def test_a_column_shorter_than_the_band_is_malformed():
    short = replace(content({5}, {6}), filter=replace(content({5}, {6}).filter, decision=b"\0" * 9))
    with pytest.raises(Malformed, match=r"compact-set\.encoding"):
        decode_compact_set(encode_compact_set(short))


def test_a_set_that_is_too_large_is_not_read():
    with pytest.raises(Malformed, match=r"compact-set\.too-large"):
        decode_compact_set(bytes(MOST_OCTETS + 1))
    with pytest.raises(Malformed, match=r"signed\.too-large"):
        verify_by_ca(b"\x30" * 10, CONTENT_TYPE, authority(EC).certificate, most_octets=9)


@examples(400, 0.1)
@given(chance=st.randoms(use_true_random=False))
def test_a_damaged_set_is_malformed_or_answers(chance):
    octets = bytearray(OCTETS)
    for _ in range(chance.randint(1, 4)):
        octets[chance.randrange(100)] = chance.randrange(256)
    try:
        found = decode_compact_set(bytes(octets))
    except Malformed:
        return
    for serial in (1, 500, (1 << 160) - 1):
        assert found.answer(serial, NOW, NOW) in {"good", "revoked", "not-covered"}


@examples(400, 0.1)
@given(data=st.binary(max_size=200))
def test_noise_is_malformed(data):
    with pytest.raises(Malformed):
        decode_compact_set(data)
    with pytest.raises(Malformed):
        verify_by_ca(data, CONTENT_TYPE, authority(EC).certificate, most_octets=MOST)


SIGNED = signed_set(range(1, 30), range(100, 900))


@examples(300, 0.1)
@given(chance=st.randoms(use_true_random=False))
def test_nothing_of_a_signed_set_can_be_changed(chance):
    octets = bytearray(SIGNED)
    at = chance.randrange(len(octets))
    octets[at] ^= chance.randrange(1, 256)
    ca, checker = authority(EC).certificate, other_checker()
    whole = verify_by_ca(SIGNED, CONTENT_TYPE, ca, most_octets=MOST)
    for check, refusal in (
        (lambda der: verify_by_ca(der, CONTENT_TYPE, ca, most_octets=MOST), (Malformed,)),
        (
            lambda der: checker.signed_content(der, ca),
            (checker.NotBelieved, InvalidSignature, ValueError, KeyError, IndexError),
        ),
    ):
        try:
            found = check(bytes(octets))
        except refusal:
            continue
        assert found == whole  # a part that nobody looks at


def test_another_cas_or_another_contents_signature_is_refused():
    other, ca = authority("EC-P384").certificate, authority(EC).certificate
    octets = encode_compact_set(content({5}, {6, 7}))
    for der, certificate, rule in (
        (SIGNED, other, "signers"),
        (signed(octets, content_type="1.2.3.4"), ca, "content-type"),
        (SIGNED[:-1] + bytes([SIGNED[-1] ^ 1]), ca, "signature"),
        (b"\x30\x00", ca, "encoding"),
        (SIGNED + b"\0", ca, "trailing-bytes"),
    ):
        with pytest.raises(Malformed, match=rf"signed\.{rule}"):
            verify_by_ca(der, CONTENT_TYPE, certificate, most_octets=MOST)
        if rule != "trailing-bytes":
            with pytest.raises((other_checker().NotBelieved, InvalidSignature, ValueError)):
                other_checker().signed_content(der, certificate)


def test_a_signature_that_is_moved_to_another_set_is_refused(monkeypatch):
    """The signature fits its attributes, and those are for another content."""
    bad, good = (encode_compact_set(content(these, {1, 2, 29} - {*these})) for these in ({1}, ()))
    monkeypatch.setattr(
        cms_by_ca, "signed_attributes", lambda _content, *rest: signed_attributes(bad, *rest)
    )
    ca = authority(EC).certificate
    assert verify_by_ca(signed(bad), CONTENT_TYPE, ca, most_octets=MOST) == bad
    with pytest.raises(Malformed, match=r"signed\.signature"):
        verify_by_ca(signed(good), CONTENT_TYPE, ca, most_octets=MOST)
    with pytest.raises(other_checker().NotBelieved):
        other_checker().signed_content(signed(good), ca)

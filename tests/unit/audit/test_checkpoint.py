"""Checkpoints: signed notes that say one thing each."""

from __future__ import annotations

from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from est_server.audit.checkpoint import (
    FIRST,
    Checkpoint,
    check_note,
    find_notes,
    note_hash,
    read_note,
    signed_note,
    verifier_key,
)
from est_server.errors import Malformed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
SOME = Checkpoint("est.example.net/audit", 7, sha256(b"root").digest(), AT)


def signed(checkpoint):
    return signed_note(checkpoint, KEY.public_key(), KEY.sign)


@given(
    st.builds(
        Checkpoint,
        origin=st.from_regex(r"\A[a-z.\-/]{1,20}\Z"),
        size=st.integers(0, 1 << 62),
        root=st.binary(min_size=32, max_size=32),
        at=st.datetimes(min_value=datetime(1970, 1, 1)).map(  # noqa: DTZ001 - aware in a moment
            lambda at: at.replace(microsecond=0, tzinfo=UTC)
        ),
        previous=st.binary(min_size=32, max_size=32),
    )
)
def test_reads_what_it_writes(checkpoint):
    note = signed(checkpoint)
    assert check_note(note, KEY.public_key()) == checkpoint
    assert read_note(note) == checkpoint


def test_has_the_documented_form():
    root = b64encode(sha256(b"root").digest()).decode()
    lines = signed(SOME).split("\n")
    assert lines[:6] == [
        "est.example.net/audit",
        "7",
        root,
        "time 2026-11-24T12:00:00Z",
        f"previous {'A' * 43}=",
        "",
    ]
    assert lines[6].startswith("\N{EM DASH} est.example.net/audit ")
    assert lines[7:] == [""]
    KEY.public_key().verify(
        b64decode(lines[6].split()[-1])[4:], "".join(f"{line}\n" for line in lines[:5]).encode()
    )
    assert bytes(32) == FIRST
    assert note_hash(signed(SOME)) == sha256(signed(SOME).encode()).digest()


def test_verifier_key_is_that_of_signed_notes():
    name, number, octets = verifier_key("example.com/foo", KEY.public_key()).split("+", 2)
    assert name == "example.com/foo"
    raw = KEY.public_key().public_bytes_raw()
    assert number == sha256(b"example.com/foo\n\x01" + raw).hexdigest()[:8]
    assert octets.startswith("A")  # the first octet is the type 1


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("\n7\n", "\n8\n", "audit.signature"),
        ("time 2026-11-24T12", "time 2026-11-24T13", "audit.signature"),
        ("previous A", "previous B", "audit.signature"),
        ("est.example", "est-example", "audit.signature"),
        ("\n7\n", "\n07\n", "audit.checkpoint"),
        ("\n7\n", "\n-7\n", "audit.checkpoint"),
        ("\n7\n", f"\n{1 << 63}\n", "audit.checkpoint"),
        ("AAA=\n", "AAB=\n", "audit.checkpoint"),
        ("time 2026-11", "time 2026-13", "audit.checkpoint"),
        ("\n\n", "\n", "audit.checkpoint"),
        ("\n\n", "\nmore\n\n", "audit.checkpoint"),
        ("\N{EM DASH} est.example", "\N{EM DASH} est-example", "audit.checkpoint"),
        ("\N{EM DASH} ", "- ", "audit.checkpoint"),
        ("time", "a" * 5000, "audit.checkpoint"),
    ],
)
def test_a_changed_note_is_refused(old, new, rule):
    note = signed(SOME)
    changed = note.replace(old, new) if rule == "audit.signature" else note.replace(old, new, 1)
    assert changed != note
    with pytest.raises(Malformed) as caught:
        check_note(changed, KEY.public_key())
    assert caught.value.rule == rule


def test_another_key_is_refused():
    other = Ed25519PrivateKey.generate()
    with pytest.raises(Malformed, match="another key"):
        check_note(signed(SOME), other.public_key())
    forged = signed_note(SOME, KEY.public_key(), other.sign)
    with pytest.raises(Malformed, match="signature"):
        check_note(forged, KEY.public_key())


@given(st.one_of(st.text(), st.builds(
    lambda at, more: signed(SOME)[:at] + more + signed(SOME)[at:], st.integers(0, 300), st.text()
)))  # fmt: skip
def test_raises_nothing_else(text):
    with suppress(Malformed):
        check_note(text, KEY.public_key())


def logged(checkpoint):
    text = b64encode(signed(checkpoint).encode()).decode()
    return f"<109>1 2026-11-24T12:00:00Z pki est-server 7 audit - checkpoint size=1 note={text}"


def test_anchors_are_read():
    other = replace(SOME, size=9)
    wanted = {7: signed(SOME), 9: signed(other)}
    assert find_notes(f"{signed(SOME)}\n{signed(other)}\n") == wanted
    assert find_notes(signed(SOME) + signed(other) + signed(SOME)) == wanted
    assert find_notes(f"boot\n{logged(SOME)}\nmore\n{logged(other)}\n") == wanted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "something else",
        signed(SOME) + "something else",
        signed(SOME)[:-5],
        signed(SOME) + signed(replace(SOME, root=bytes(32))),
        logged(SOME)[:-9],
        "note=!",
        "note=AAAA",
    ],
)
def test_what_is_no_anchor_is_refused(text):
    with pytest.raises(Malformed):
        find_notes(text)


@given(st.text())
def test_anchors_raise_nothing_else(text):
    for found in (text, signed(SOME) + text, f"note={text}"):
        with suppress(Malformed):
            find_notes(found)

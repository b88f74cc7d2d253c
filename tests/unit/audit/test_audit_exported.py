"""An exported log is believed as far as a signed checkpoint covers it, and no further."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from est_server.audit.checkpoint import FIRST, Checkpoint, note_hash, signed_note
from est_server.audit.exported import FORMAT, covered_leaves
from est_server.audit.tree import Range, leaf_hash, root_of, subtrees
from est_server.errors import Malformed

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
TRUSTED = (KEY.public_key(),)
OTHER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
LEAVES = [f'{{"act":"leaf-{number}"}}' for number in range(11)]
NAMED = "leaf-3"


def root(start, end):
    """Return the root over a range whose subtrees are hashed leaf by leaf."""
    if end - start == 1:
        return leaf_hash(LEAVES[start].encode())
    parts = subtrees(Range(start, end))
    if len(parts) == 1:
        middle = (start + end) // 2
        return root_of([root(start, middle), root(middle, end)])
    return root_of(
        [root(part.place << part.level, (part.place + 1) << part.level) for part in parts]
    )


def export(since=0, signed=(4, 11), key=KEY, leaves=LEAVES):
    parts = subtrees(Range(0, since))
    hashes = [
        root(part.place << part.level, (part.place + 1) << part.level).hex() for part in parts
    ]
    lines = [{"format": FORMAT, "since": since, "hashes": hashes}]
    before = None
    for index in range(since, len(leaves) + 1):
        if index in signed:
            previous = FIRST if before is None else note_hash(before)
            at = datetime(2026, 11, 24, tzinfo=UTC)
            checkpoint = Checkpoint("log", index, root(0, index), at, previous)
            before = signed_note(checkpoint, key.public_key(), key.sign)
            lines.append({"checkpoint": before})
        if index < len(leaves):
            lines.append({"index": index, "leaf": leaves[index]})
    return [json.dumps(line) for line in lines]


def read(lines, start=0, keys=TRUSTED):
    return [(place, data.decode()) for place, data in covered_leaves(lines, keys, start)]


@pytest.mark.parametrize("since", [0, 4])
@pytest.mark.parametrize("start", [4, 7, 11])
def test_leaves_are_read_from_where_they_are_wanted(since, start):
    assert read(export(since), start) == list(enumerate(LEAVES))[start:]


def test_leaves_behind_the_last_checkpoint_are_not_believed():
    assert read(export(signed=(4,))) == list(enumerate(LEAVES))[:4]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda lines: lines[1:], id="no head"),
        pytest.param(lambda _: [], id="nothing, and nothing believed") ,
        pytest.param(lambda lines: [*lines[:2], *lines[3:]], id="a leaf removed"),
        pytest.param(lambda lines: [*lines[:1], lines[2], lines[1], *lines[3:]], id="exchanged"),
        pytest.param(lambda lines: [one.replace(NAMED, "other") for one in lines], id="altered"),
        pytest.param(lambda lines: [*lines[:1], lines[-1], *lines[1:]], id="checkpoint moved"),
        pytest.param(lambda lines: [*lines, "{"], id="cut off"),
        pytest.param(lambda lines: [*lines, "[]"], id="no object"),
    ],
)  # fmt: skip
def test_what_was_changed_is_not_believed(wrong):
    lines = wrong(export())
    if not lines:
        assert read(lines) == []
        return
    with pytest.raises(Malformed) as caught:
        read(lines)
    assert caught.value.rule in {"audit.export", "audit.checkpoint"}


def test_another_key_is_not_believed():
    with pytest.raises(Malformed) as caught:
        read(export(key=OTHER))
    assert caught.value.rule == "audit.signature"
    with pytest.raises(Malformed):
        read(export(), keys=())


def test_an_export_that_begins_too_late_is_refused():
    with pytest.raises(Malformed, match="begins with leaf 4"):
        read(export(4), start=3)


@settings(deadline=None)
@given(lines=st.lists(st.text(max_size=80) | st.sampled_from(export()), max_size=12))
def test_any_lines_are_leaves_or_refused(lines):
    try:
        found = read(lines)
    except Malformed:
        return
    assert found == list(enumerate(LEAVES))[: len(found)]

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.errors import Malformed
from est_server.wire.event_stream import (
    LONGEST_EVENT,
    EventReader,
    StreamEvent,
    encode_comment,
    encode_event,
)

# texts as the standard shows them (WHATWG HTML 9.2.6), and what a reader makes of them
STREAMS = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [StreamEvent("YHOO\n+2\n10")], ""),
    (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third\n\n",
        [
            StreamEvent("first event", id="1"),
            StreamEvent("second event"),
            StreamEvent(" third"),
        ],
        "",
    ),
    (b"data\n\ndata\ndata\n\ndata:", [StreamEvent(""), StreamEvent("\n")], ""),
    (b"data:test\n\ndata: test\n\n", [StreamEvent("test"), StreamEvent("test")], ""),
    (b"id: 7\n\n", [], "7"),
    (b"id: 7\0\ndata: x\n\n", [StreamEvent("x")], ""),
    (b"event: held\r\ndata: a\r\rdata: b\n\r\n", [StreamEvent("a", "held"), StreamEvent("b")], ""),
    (b"\xef\xbb\xbfdata: a\n\n", [StreamEvent("a")], ""),
    (b"event: lost\n\ndata: a\n\n", [StreamEvent("a")], ""),
    (b"retry: 10\nunknown: 1\ndata: \xff\n\n", [StreamEvent("\N{REPLACEMENT CHARACTER}")], ""),
    (b"data: never ended\n", [], ""),
    (b"data: a\nid: 1\n\nid: 2\ndata: cut off\n", [StreamEvent("a", id="1")], "1"),
]


@pytest.mark.parametrize(("octets", "events", "last_id"), STREAMS)
def test_streams_are_read_as_the_standard_has_it(octets, events, last_id):
    reader = EventReader()
    assert reader.take(octets) == events
    assert reader.last_id == last_id


@pytest.mark.parametrize(("octets", "events", "last_id"), STREAMS)
def test_how_the_octets_are_cut_makes_no_difference(octets, events, last_id):
    reader, found = EventReader(), []
    for octet in octets:
        found += reader.take(bytes([octet]))
    assert (found, reader.last_id) == (events, last_id)


TEXT = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
DATA = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)
KIND = TEXT.filter(bool)


@given(st.lists(st.builds(StreamEvent, DATA, KIND, KIND), max_size=5), st.integers(1, 40))
def test_what_is_written_is_read(events, size):
    octets = encode_comment("hello") + b"".join(map(encode_event, events)) + encode_comment()
    reader, found = EventReader(), []
    for at in range(0, len(octets), size):
        found += reader.take(octets[at : at + size])
    assert [(one.event, one.id) for one in found] == [(one.event, one.id) for one in events]
    for one, sent in zip(found, events, strict=True):
        assert one.data == sent.data.replace("\r\n", "\n").replace("\r", "\n")


def test_an_event_without_data_only_sets_the_position():
    assert encode_event(StreamEvent("", id="12")) == b"id: 12\n\n"
    reader = EventReader()
    assert (reader.take(b"id: 12\n\n"), reader.last_id) == ([], "12")


def test_a_position_is_kept_until_an_event_has_another():
    reader = EventReader("5")
    assert reader.take(b"data: a\n\n") == [StreamEvent("a", id="5")]
    assert reader.last_id == "5"


@pytest.mark.parametrize("event", [StreamEvent("x", "a\nb"), StreamEvent("x", id="1\r2")])
def test_a_type_or_an_id_can_not_end_its_line(event):
    with pytest.raises(ValueError, match="more than one line"):
        encode_event(event)


@pytest.mark.parametrize("octets", [b"x", b"data: x\n", b"data\n", b":\n"])
def test_an_event_without_an_end_is_given_up(octets):
    reader = EventReader()
    assert reader.take(octets * (LONGEST_EVENT // len(octets))) == []
    with pytest.raises(Malformed, match=r"event-stream\.too-large"):
        reader.take(octets)


def test_many_events_at_once_are_no_large_event():
    octets = encode_event(StreamEvent("x" * 100, id="1")) * 5000
    assert len(octets) > LONGEST_EVENT
    assert len(EventReader().take(octets)) == 5000


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_no_octets_are_too_odd(pieces):
    reader = EventReader()
    with contextlib.suppress(Malformed):
        for piece in pieces:
            reader.take(piece)

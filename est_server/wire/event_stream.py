"""Server-sent events (WHATWG HTML 9.2.5 and 9.2.6): bytes <-> events.

stream  = [ BOM ] *event
event   = *( comment / field ) end-of-line
comment = ":" *any-char end-of-line
field   = name [ ":" [ SPACE ] *any-char ] end-of-line        event, data, id, retry
end-of-line = CR LF / LF / CR
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from est_server.errors import Malformed

MEDIA_TYPE = "text/event-stream"
LONGEST_EVENT = 1 << 16
"""Octets that may arrive without an event being complete."""
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event.

    Attributes:
        data: its text; lines are told apart by LF.
        event: its type; ``message`` where the stream names none.
        id: the stream's position once this event was taken in; "" where none is known.
    """

    data: str
    event: str = "message"
    id: str = ""


def encode_event(event: StreamEvent) -> bytes:
    """Return an event; without data it only sets the reader's position.

    Raises:
        ValueError: a type or an id that would end its line.
    """
    if any(mark in f"{event.event}{event.id}" for mark in "\r\n\0"):
        raise ValueError("a type or an id of more than one line")
    lines = [f"id: {event.id}"] if event.id else []
    if event.data:
        if event.event != "message":
            lines.append(f"event: {event.event}")
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        lines += [f"data: {line}" for line in text.split("\n")]
    return "".join(f"{line}\n" for line in (*lines, "")).encode()


def encode_comment(text: str = "") -> bytes:
    """Return a line that readers pass over: it keeps a connection alive."""
    return f": {text}\n\n".encode()


@dataclass(slots=True)
class EventReader:
    """Takes in octets as they come and returns the events that are complete.

    Attributes:
        last_id: the position to resume from; "" where none is known.
    """

    last_id: str = ""
    _id: str = ""
    _rest: bytes = b""
    _begun: bool = False
    _size: int = 0
    _type: str = ""
    _data: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._id = self.last_id

    def take(self, octets: bytes) -> list[StreamEvent]:
        """Return the events that these octets complete.

        Raises:
            Malformed: ``event-stream.too-large``: an event has no end within `LONGEST_EVENT`.
        """
        block = self._rest + octets
        if not self._begun:
            if len(block) < len(_BOM) and _BOM.startswith(block):
                self._rest = block
                return []
            block, self._begun = block.removeprefix(_BOM), True
        found, at = [], 0
        for end in _LINE_END.finditer(block):
            if end[0] == b"\r" and end.end() == len(block):
                break  # perhaps half of CR LF
            self._size += end.end() - at
            event = self._line(block[at : end.start()].decode("utf-8", "replace"))
            at = end.end()
            if event is not None:
                found.append(event)
            self._bounded(0)
        self._rest = block[at:]
        self._bounded(len(self._rest))
        return found

    def _bounded(self, waiting: int) -> None:
        if self._size + waiting > LONGEST_EVENT:
            text = f"an event is larger than {LONGEST_EVENT} octets"
            raise Malformed("event-stream.too-large", text)

    def _line(self, line: str) -> StreamEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
        return None

    def _dispatch(self) -> StreamEvent | None:
        data, kind = "\n".join(self._data), self._type or "message"
        empty, self.last_id = not self._data, self._id  # not before: the event may be cut off
        self._data, self._type, self._size = [], "", 0
        return None if empty else StreamEvent(data, kind, self.last_id)

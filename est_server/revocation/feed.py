"""Revocation events for everybody: what is public of them, and the newest ones in memory.

An event says that a certificate's status changed, and nothing of who changed it or why he says so.
It is a hint: what a relying party believes are the signed lists that show it a moment later.
"""

from __future__ import annotations

import json
from collections import deque
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from est_server.wire.event_stream import StreamEvent, encode_event

if TYPE_CHECKING:
    from est_server.ports.revocation import RevocationEvent, Revocations

POLL_SECONDS = 0.25
PAGE = 500
"""Events that are read from the ledger, or written to a stream, at once."""
_KEPT = 1024


def public_event(event: RevocationEvent) -> dict[str, Any]:
    """Return what anybody may know of an event, in JSON's types.

    That is what the lists say too. Who ordered it and the operator's note stay here.
    """

    def text(time: Any) -> str | None:
        return None if time is None else time.isoformat()

    return {
        "sequence": event.sequence,
        "event": event.action,
        "ca": event.ca,
        "serial": f"{event.serial_number:x}",
        "reason": event.reason,
        "revoked_at": text(event.revoked_at),
        "invalidity_date": text(event.invalidity_date),
        "at": text(event.at),
    }


def stream_event(event: RevocationEvent) -> bytes:
    """Return an event as streams have it; its id is its sequence number."""
    data = json.dumps(public_event(event), separators=(",", ":"))
    return encode_event(StreamEvent(data, event.action, str(event.sequence)))


@dataclass(frozen=True, slots=True)
class Piece:
    """What comes next in a stream.

    Attributes:
        position: of the stream once it was sent.
        count: events in it.
        octets: the events.
    """

    position: int
    count: int
    octets: bytes = field(repr=False)


@dataclass(slots=True)
class Feed:
    """Follows the ledger's events, whatever process wrote them.

    Attributes:
        revocations: the ledger's.
        newest: sequence number of the last event.
    """

    revocations: Revocations
    newest: int = 0
    _recent: deque[tuple[int, bytes]] = field(default_factory=lambda: deque(maxlen=_KEPT))

    async def look(self) -> bool:
        """Take in what happened since the last look, and tell whether anything did.

        Raises:
            BackendUnavailable: the ledger is away.
        """
        last = await self.revocations.last_event()
        newest = 0 if last is None else last.sequence
        if newest == self.newest:
            return False
        if 0 < newest - self.newest <= _KEPT:
            events = await self.revocations.events(after=self.newest, limit=newest - self.newest)
            self._recent.extend((event.sequence, stream_event(event)) for event in events)
        else:  # the first look, a restored ledger, or very much at once
            self._recent.clear()
        self.newest = newest
        return True

    async def after(self, position: int) -> Piece:
        """Return the events behind a position, as many as fit into a piece.

        Raises:
            BackendUnavailable: they are not in memory, and the ledger is away.
        """
        if position >= self.newest:
            return Piece(position, 0, b"")
        if self._recent and self._recent[0][0] <= position + 1:
            newer = takewhile(lambda one: one[0] > position, reversed(self._recent))
            found = list(newer)[::-1][:PAGE]
        else:
            events = await self.revocations.events(after=position, limit=PAGE)
            found = [(event.sequence, stream_event(event)) for event in events]
        if not found:
            return Piece(position, 0, b"")
        return Piece(found[-1][0], len(found), b"".join(octets for _, octets in found))

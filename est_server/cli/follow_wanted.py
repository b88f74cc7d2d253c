"""Which certificates' changes `follow` has heard of and not yet seen in a list."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from est_server.errors import Denied
from est_server.revocation import gateway

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from est_server.revocation.gateway import Copy

SHOWN_WITHIN = 30.0
"""Seconds from an event until lists have to show it."""
_MOST = 1_000_000


@dataclass(slots=True)
class Wanted:
    """What the lists of one CA have to show; the last event of a certificate counts.

    Attributes:
        changed: whether there is a new list or a new event since the last comparison.
    """

    changed: bool = False
    _serials: dict[int, tuple[bool, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._serials)

    def add(self, event: Mapping[str, Any]) -> None:
        """Note an event of the feed.

        Raises:
            ValueError, TypeError, KeyError: it is none.
        """
        serial, listed = int(event["serial"], 16), event["event"] != "released"
        if len(self._serials) < _MOST:
            until = asyncio.get_running_loop().time() + SHOWN_WITHIN
            self._serials[serial] = (listed, until)
            self.changed = True

    async def compare(self, lists: Sequence[Copy]) -> None:
        """Forget what the lists show by now.

        Raises:
            Denied: ``follow.not-shown``: something should have been shown by now; forgotten too.
        """
        if self.changed and self._serials:
            self.changed = False
            asked = {serial: listed for serial, (listed, _) in self._serials.items()}
            for serial in await asyncio.to_thread(gateway.shown, lists, asked):
                if self._serials[serial][0] is asked[serial]:  # no other event meanwhile
                    del self._serials[serial]
        now = asyncio.get_running_loop().time()
        late = [serial for serial, (_, until) in self._serials.items() if until <= now]
        for serial in late:
            del self._serials[serial]
        if late:
            more = f", nor {len(late) - 1} more" if len(late) > 1 else ""
            text = f"no list shows {late[0]:x}{more} after {SHOWN_WITHIN:.0f} seconds"
            raise Denied("follow.not-shown", text)

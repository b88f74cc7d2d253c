"""How far a process follows rollovers: no further than its CAs are open."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from est_server.rollover.lifecycle import VISIBLE

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from est_server.ports.rollover import Rollover


def to_follow(
    found: Sequence[Rollover],
    followed: Sequence[Rollover],
    opened: Container[str],
    working: Container[str],
) -> tuple[Rollover, ...]:
    """Return the rollovers as far as they can be followed.

    While a CA works, everything about it stays as it is until its successor is open.

    Args:
        found: all there are.
        followed: how far they were followed until now.
        opened: the CAs that can be used.
        working: the CAs that were in use until now.
    """
    held = {
        one.ca
        for one in found
        if one.state in VISIBLE and one.successor not in opened and one.ca in working
    }
    wanted = [
        *(one for one in found if one.ca not in held),
        *(one for one in followed if one.ca in held),
    ]
    wanted = [replace(one, anonymous_fetches=0) for one in wanted]
    return tuple(sorted(wanted, key=lambda one: (one.ca, one.generation)))

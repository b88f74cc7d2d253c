"""The states of a rollover and the actions that lead from one to another.

prepare   new keys and certificates are made; nobody sees them
publish   /cacerts has old and new root, and each certified by the other
switch    the new issuing CA issues; devices of the old root still validate by NewWithOld
back      the old one issues again; nothing is lost, both stay published
retire    the old root is published no more: the end
abort     before anything was issued: the new hierarchy is published no more: the end
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from est_server.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from est_server.ports.rollover import Rollover, RolloverState

Action = Literal["publish", "switch", "back", "retire", "abort"]

TRANSITIONS: Mapping[tuple[RolloverState, Action], RolloverState] = MappingProxyType(
    {
        ("prepared", "publish"): "published",
        ("published", "switch"): "switched",
        ("switched", "back"): "published",
        ("switched", "retire"): "retired",
        ("prepared", "abort"): "aborted",
        ("published", "abort"): "aborted",
    }
)
"""What is not here is refused; `prepare` makes a rollover where none is open."""

OPEN: frozenset[RolloverState] = frozenset({"prepared", "published", "switched"})
"""One of a CA at a time is in these."""
ISSUES: frozenset[RolloverState] = frozenset({"switched", "retired"})
"""The successor issues."""
VISIBLE: frozenset[RolloverState] = frozenset({"published", "switched", "retired"})
"""The successor's certificates are published, and those that it issued are known."""


def next_state(rollover: Rollover, action: Action) -> RolloverState:
    """Return where `action` leads.

    Raises:
        Conflict: ``rollover.state``: it does not start from here; ``rollover.issued``: what was
            issued would lose its CA.
    """
    found = TRANSITIONS.get((rollover.state, action))
    if found is None:
        starts = " or ".join(begin for begin, known in TRANSITIONS if known == action)
        text = f"the rollover of CA {rollover.ca} is {rollover.state}"
        raise Conflict("rollover.state", text, hint=f"{action} starts from {starts}")
    if action == "abort" and rollover.switched_at is not None:
        text = f"CA {rollover.successor} has issued already"
        raise Conflict("rollover.issued", text, hint="switch again, then retire")
    return found

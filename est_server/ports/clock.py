"""Time as a dependency, so that every decision can be replayed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Clock(Protocol):
    """Tells the time."""

    def __call__(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...

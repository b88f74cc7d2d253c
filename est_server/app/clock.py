"""The machine's time."""

from __future__ import annotations

from datetime import UTC, datetime


def system_clock() -> datetime:
    """Return the machine's time; the one place that reads it."""
    return datetime.now(UTC)  # noqa: TID251 - this is the Clock

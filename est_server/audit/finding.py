"""What a check of the log finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was.

    Attributes:
        rule: stable dotted identifier.
        table: where it is.
        key: of the row.
        column: empty for a row as a whole.
        message: what is wrong with it.
    """

    rule: str
    table: str
    key: str
    column: str
    message: str


LEAVES, TILES, CHECKPOINTS = "audit_leaves", "audit_tiles", "audit_checkpoints"


def leaf_finding(rule: str, place: int, message: str) -> Finding:
    """Return a finding about one leaf."""
    return Finding(f"audit.leaf.{rule}", LEAVES, str(place), "", message)


def tile_finding(level: int, place: int, message: str) -> Finding:
    """Return a finding about one tile."""
    return Finding("audit.tile", TILES, f"{level}/{place}", "hashes", message)


def checkpoint_finding(rule: str, size: int, message: str, column: str = "note") -> Finding:
    """Return a finding about one checkpoint."""
    return Finding(f"audit.checkpoint.{rule}", CHECKPOINTS, str(size), column, message)

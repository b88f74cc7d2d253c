"""How the parts of a transaction run their statements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from est_server.storage.sqlite_reads import prepared

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

    from sqlalchemy import Executable


def execute(db: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]) -> int:
    """Run a statement and return how many rows it changed."""
    query, picked = prepared(statement)
    return db.execute(query, picked(values)).rowcount


def find(
    db: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]
) -> sqlite3.Row | None:
    """Return the first row, or None."""
    query, picked = prepared(statement)
    row: sqlite3.Row | None = db.execute(query, picked(values)).fetchone()
    return row


def find_all(
    db: sqlite3.Connection, statement: Executable, values: Mapping[str, Any]
) -> list[sqlite3.Row]:
    """Return every row."""
    query, picked = prepared(statement)
    return db.execute(query, picked(values)).fetchall()

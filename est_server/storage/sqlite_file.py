"""How a SQLite ledger's file is made and opened."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

from est_server.storage.sqlite_connection import SqliteConnection

if TYPE_CHECKING:
    from pathlib import Path

_STATEMENTS_KEPT = 128
_OPEN_WAIT = 1.0  # seconds; another process may be recovering or closing the file
_PRAGMAS = (
    "PRAGMA synchronous=FULL",  # WAL with NORMAL may lose acknowledged commits with the power
    "PRAGMA foreign_keys=ON",
    "PRAGMA cache_size=-16384",  # KiB
    "PRAGMA wal_autocheckpoint=4000",  # pages; copying back rarely spares rewriting hot pages
    "PRAGMA journal_size_limit=67108864",  # bytes that -wal keeps after a checkpoint
    "PRAGMA journal_mode=WAL",
)

_READING = ("PRAGMA query_only=ON", "PRAGMA cache_size=-16384")


def make_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives -wal and -shm the same mode."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.close(descriptor)


def connect(path: Path, *, wait: float = 0.0, read_only: bool = False) -> SqliteConnection:
    """Open the file; transactions are the caller's own business.

    Args:
        path: the file; it is created when it is missing.
        wait: seconds that a statement blocks while another process holds the lock it needs.
        read_only: whether nothing can be changed, whatever the file's mode is.

    Raises:
        sqlite3.Error: the file can't be opened, or is no database.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        timeout=_OPEN_WAIT,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=_STATEMENTS_KEPT,
        factory=SqliteConnection,
    )
    try:
        connection.row_factory = sqlite3.Row
        for pragma in _READING if read_only else _PRAGMAS:
            connection.execute(pragma)
        connection.execute(f"PRAGMA busy_timeout={int(wait * 1000)}")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_busy(error: sqlite3.Error) -> bool:
    """Tell whether another process holds the lock, so that trying again may help."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF == sqlite3.SQLITE_BUSY

"""How a SQLite ledger's file is made and opened."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FULL_SYNC = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # WAL with NORMAL may lose acknowledged commits with the power
    "PRAGMA foreign_keys=ON",
)


def make_private(path: Path) -> None:
    """Create the file for its owner alone; SQLite gives -wal and -shm the same mode."""
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    os.close(descriptor)

"""The ledger on SQLite: one file, for one machine.

Reads run on the event loop (`sqlite_reads`); concurrent writes share commits (`group_commit`),
behind the write lock, so that what a part of a transaction reads holds until it writes.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable
from est_server.storage.group_commit import GroupCommit
from est_server.storage.ledger import SqlLedger
from est_server.storage.read_only import ReadOnlyLedger
from est_server.storage.sqlite_file import connect, make_private
from est_server.storage.sqlite_reads import SqliteReads

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from est_server.ports.ledger import Ledger


class SqliteLedger(SqlLedger):
    """A `Ledger` in one file; see the port for what each method promises.

    Args:
        path: the file; `est_server.storage.schema` has made its tables.
        node: whose reservations these are, as in `NodeStatus`; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be opened.
    """

    def __init__(self, path: Path, node: str = "", actor: str = "est-server") -> None:
        try:
            make_private(path)
            reads = SqliteReads(path)
        except (OSError, sqlite3.Error) as error:
            raise BackendUnavailable(
                "ledger.unavailable", "the ledger can't be opened", hint=f"{path}: {error}"
            ) from error
        super().__init__(reads, GroupCommit(lambda: connect(path)), node, actor)


def read_only_ledger(path: Path) -> Ledger:
    """Return a ledger in a file that another process writes.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: it can't be opened; while nobody else has it
            open, that takes the right to write to its folder.
    """
    try:
        return ReadOnlyLedger(SqliteReads(path, read_only=True))
    except (OSError, sqlite3.Error) as error:
        hint = f"{path}: {error}; is a process running that writes it?"
        raise BackendUnavailable(
            "ledger.unavailable", "the ledger can't be opened", hint=hint
        ) from error


_: Callable[[Path], Ledger] = SqliteLedger

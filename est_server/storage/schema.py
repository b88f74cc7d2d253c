"""The ledger's schema: created, upgraded and compared with what this release expects."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from est_server.errors import BackendUnavailable
from est_server.storage.sqlite_file import connect, make_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

_OTHERS_FINISH_WITHIN = 60.0  # seconds that an upgrade waits for the write lock


@dataclass(frozen=True, slots=True)
class SchemaStatus:
    """Where a ledger stands.

    Attributes:
        current: the revision it has; None when it has no tables.
        head: the revision that this release expects.
    """

    current: str | None
    head: str

    @property
    def ready(self) -> bool:
        """Whether this release can use the ledger."""
        return self.current == self.head


def schema_status(path: Path, *, read_only: bool = False) -> SchemaStatus:
    """Return where the SQLite ledger at `path` stands; a missing file is not created.

    Args:
        path: the file.
        read_only: as in `est_server.storage.sqlite_file.connect`.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be read or is no database.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("this release has no migrations")
    if not path.exists():
        return SchemaStatus(None, head)
    with _connection(path, "BEGIN", read_only=read_only) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return SchemaStatus(current, head)


def upgrade_schema(path: Path) -> SchemaStatus:
    """Create or upgrade the SQLite ledger at `path` and return where it stands.

    All steps are one transaction, so that a step that fails, or a crash, leaves the ledger as it
    was; several processes may upgrade at once.

    Raises:
        BackendUnavailable: ``ledger.schema``: the ledger belongs to a newer release;
            ``ledger.unavailable``: the file can't be written or is no database.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        make_private(path)
    except OSError as error:
        raise _unavailable(path, error) from error
    with _connection(path, "BEGIN IMMEDIATE") as connection:
        config = _config()
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise BackendUnavailable(
                "ledger.schema",
                "the ledger can't be brought to the schema of this release",
                hint=f"it was written by a newer release: {error}",
            ) from error
    return schema_status(path)


def _config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config


@contextmanager
def _connection(path: Path, begin: str, *, read_only: bool = False) -> Iterator[Connection]:
    """Open the ledger with transactions that hold what they say, table changes too.

    Left alone, the driver starts a transaction only before rows change, not before tables do.
    """
    engine = create_engine(
        "sqlite://",
        creator=lambda: connect(path, wait=_OTHERS_FINISH_WITHIN, read_only=read_only),
        poolclass=NullPool,
    )

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    try:
        with engine.connect() as connection:
            yield connection
    except (DBAPIError, sqlite3.Error) as error:
        raise _unavailable(path, error) from error


def _unavailable(path: Path, error: Any) -> BackendUnavailable:
    return BackendUnavailable(
        "ledger.unavailable",
        "the ledger can't be opened",
        hint=f"{path}: {getattr(error, 'orig', None) or error}",
    )

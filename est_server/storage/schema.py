"""The ledger's schema: created, upgraded and compared with what this release expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event
from sqlalchemy.pool import NullPool

from est_server.storage.sqlite_file import FULL_SYNC, make_private

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.pool import ConnectionPoolEntry


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


def schema_status(path: Path) -> SchemaStatus:
    """Return where the SQLite ledger at `path` stands."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("this release has no migrations")
    if not path.exists():
        return SchemaStatus(None, head)
    engine = _engine(path)
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    return SchemaStatus(current, head)


def upgrade_schema(path: Path) -> SchemaStatus:
    """Create or upgrade the SQLite ledger at `path` and return where it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    make_private(path)
    engine = _engine(path)
    config = _config()
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    return schema_status(path)


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def _durable(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in FULL_SYNC:
            cursor.execute(pragma)
        cursor.close()

    return engine

"""The ledger's schema: created, upgraded and compared with what this release expects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from est_server.storage import LedgerPlace


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


def schema_status(place: LedgerPlace, *, read_only: bool = False) -> SchemaStatus:
    """Return where the ledger at `place` stands; a missing file is not created.

    Args:
        place: as `est_server.storage.ledger_place` says.
        read_only: for a file, as in `est_server.storage.sqlite_file.connect`.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: it can't be read or is no database.
    """
    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        raise RuntimeError("this release has no migrations")

    def look(connection: Connection) -> SchemaStatus:
        current = MigrationContext.configure(connection).get_current_revision()
        return SchemaStatus(current, head)

    if isinstance(place, Path):
        from est_server.storage import sqlite_schema as engine  # noqa: PLC0415 - only what is used

        if not place.exists():
            return SchemaStatus(None, head)
        return engine.read(place, look, read_only=read_only)
    from est_server.storage import postgres_schema  # noqa: PLC0415 - only what is used

    return postgres_schema.read(place, look)


def upgrade_schema(place: LedgerPlace) -> SchemaStatus:
    """Create or upgrade the ledger at `place` and return where it stands.

    All steps are one transaction, so that a step that fails, or a crash, leaves the ledger as it
    was; several processes may upgrade at once.

    Raises:
        BackendUnavailable: ``ledger.schema``: the ledger belongs to a newer release, or the
            database can't hold one; ``ledger.unavailable``: it can't be written or is no database.
    """
    if isinstance(place, Path):
        from est_server.storage import sqlite_schema as engine  # noqa: PLC0415 - only what is used

        engine.change(place, _upgrade)
    else:
        from est_server.storage import postgres_schema  # noqa: PLC0415 - only what is used

        postgres_schema.change(place, _upgrade)
    return schema_status(place)


def _upgrade(connection: Connection) -> None:
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


def _config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", folder.replace("%", "%%"))
    return config

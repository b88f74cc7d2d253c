"""The whole ledger at one moment, in one file that can be looked at and restored anywhere.

An archive is a SQLite file with the ledger's own tables, whatever database it came from, and one
table more that says where and when it was made. It is written beside its name and renamed once the
disk has all of it, so that a file with the name is whole.
"""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from est_server.errors import BackendUnavailable, Conflict, Malformed
from est_server.storage.crl_directory import sync_directory
from est_server.storage.schema import schema_status, upgrade_schema
from est_server.storage.sqlite_file import connect, make_private

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_TABLE = "archive"
_OF_THE_ENGINE = "sqlite_%"
_NOT_THE_LEDGERS = (_TABLE, "alembic_version")


@dataclass(frozen=True, slots=True)
class Archive:
    """What an archive says of itself.

    Attributes:
        made_at: when it was begun; everything that was durable then is in it.
        release: of est-server that made it.
        engine: the database that it came from.
        schema: revision of its tables.
        rows: how many there are, by table.
    """

    made_at: datetime
    release: str
    engine: str
    schema: str
    rows: Mapping[str, int]


def archive_sqlite(ledger: Path, out: Path, *, at: datetime, release: str) -> Archive:
    """Copy a SQLite ledger that may be in use; servers go on reading and writing.

    Args:
        ledger: its file.
        out: the archive; nothing may be there.
        at: now.
        release: of est-server.

    Raises:
        Conflict: ``backup.exists``.
        BackendUnavailable: ``backup.write``, ``ledger.unavailable``, ``ledger.schema``.
    """
    revision = schema_status(ledger).current
    if revision is None:
        raise BackendUnavailable("ledger.schema", f"there is no ledger at {ledger}")
    fresh = beside(out)
    try:
        make_private(fresh)
        with closing(connect(ledger)) as source:
            source.execute("VACUUM INTO ?", (str(fresh),))
        return finish(fresh, out, Archive(at, release, "sqlite", revision, {}))
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(
            "backup.write", "the backup can't be written", hint=f"{out}: {error}"
        ) from error
    finally:
        remove(fresh)


def beside(out: Path) -> Path:
    """Return where an archive is written until it is whole.

    Raises:
        Conflict: ``backup.exists``.
    """
    if out.exists():
        raise Conflict("backup.exists", f"{out} exists", hint="a backup never replaces a file")
    fresh = out.with_name(f".{out.name}.new")
    remove(fresh)
    return fresh


def finish(fresh: Path, out: Path, about: Archive) -> Archive:
    """Check an archive, let it say what it is, and give it its name.

    Raises:
        OSError, sqlite3.Error: it can't be written.
    """
    with closing(sqlite3.connect(fresh, isolation_level=None)) as made:
        made.execute("PRAGMA journal_mode=DELETE")  # one file, that any copy is whole of
        found = Archive(about.made_at, about.release, about.engine, about.schema, _count(made))
        made.execute(f"CREATE TABLE {_TABLE} (about TEXT NOT NULL)")
        text = json.dumps(asdict(found) | {"made_at": found.made_at.isoformat()}, sort_keys=True)
        made.execute(f"INSERT INTO {_TABLE} VALUES (?)", (text,))  # noqa: S608 - a name of ours
        _require_whole(made, fresh)
    descriptor = os.open(fresh, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.rename(out)
    sync_directory(out.parent)
    return found


def read_archive(path: Path) -> Archive:
    """Return what an archive says of itself.

    Raises:
        Malformed: ``backup.file``: it is none.
    """
    if not path.is_file():
        raise Malformed("backup.file", f"there is no backup at {path}")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as found:
            (text,) = found.execute(f"SELECT about FROM {_TABLE}").fetchone()  # noqa: S608 - ours
        value: dict[str, Any] = json.loads(text)
        return Archive(
            made_at=datetime.fromisoformat(value["made_at"]),
            release=str(value["release"]),
            engine=str(value["engine"]),
            schema=str(value["schema"]),
            rows={str(table): int(count) for table, count in value["rows"].items()},
        )
    except (sqlite3.Error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(
            "backup.file", f"{path} is no backup", hint="est-server db backup FILE makes one"
        ) from error


def unpack(archive: Path, out: Path) -> Archive:
    """Make a SQLite ledger of an archive, with the tables of this release.

    What server processes said of themselves stays behind: none of them is there any more.

    Raises:
        Malformed: ``backup.file``: it is no backup, or not whole.
        BackendUnavailable: ``ledger.schema``: it belongs to a newer release;
            ``backup.write``: no room.
    """
    found = read_archive(archive)
    remove(out)
    try:
        make_private(out)
        with closing(sqlite3.connect(f"{archive.absolute().as_uri()}?mode=ro", uri=True)) as source:
            _require_whole(source, archive)
            with closing(sqlite3.connect(out, isolation_level=None)) as target:
                source.backup(target)
                if _count(target) != dict(found.rows):
                    raise Malformed("backup.file", f"{archive} has other rows than it says")
                target.execute(f"DROP TABLE {_TABLE}")
        upgrade_schema(out)
        with closing(connect(out)) as target:
            target.execute("DELETE FROM nodes")
    except (OSError, sqlite3.Error) as error:
        raise BackendUnavailable(
            "backup.write", "the backup can't be unpacked", hint=f"{out}: {error}"
        ) from error
    return found


def _require_whole(database: sqlite3.Connection, path: Path) -> None:
    try:
        (said,) = database.execute("PRAGMA integrity_check(1)").fetchone()
        broken = database.execute("PRAGMA foreign_key_check").fetchone()
    except sqlite3.DatabaseError as error:
        said, broken = str(error), None
    if said != "ok" or broken is not None:
        why = said if said != "ok" else f"a row of {broken[0]} refers to nothing"
        raise Malformed("backup.file", f"{path} is damaged: {why}", hint="take an earlier backup")


def _count(database: sqlite3.Connection) -> dict[str, int]:
    names = database.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE ? ORDER BY name",
        (_OF_THE_ENGINE,),
    ).fetchall()
    return {
        name: int(database.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0])  # noqa: S608 - a table of ours
        for (name,) in names
        if name not in _NOT_THE_LEDGERS
    }


def remove(path: Path) -> None:
    """Remove a SQLite file with what lies beside it."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).unlink()

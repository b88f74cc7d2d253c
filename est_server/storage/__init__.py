"""Adapters of the ledger and ephemeral ports, chosen by URL."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from est_server.config.state import State
    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger
    from est_server.storage.postgres_server import PostgresServer

    LedgerPlace = Path | PostgresServer
    """A file for SQLite, or a database of a PostgreSQL server."""

SQLITE = "sqlite:///"
MEMORY = "memory:"
REDIS = ("redis", "rediss", "unix")


def ledger_place(state: State, base: Path) -> LedgerPlace:
    """Return where the ledger of a configuration is: a file, or a database of a server.

    Args:
        state: from server.yaml.
        base: server.yaml's folder.

    Raises:
        BackendUnavailable: ``ledger.extra``: what PostgreSQL needs is not installed;
            ``ledger.password``: it can't be read.
    """
    if state.in_a_file:
        return base / state.ledger.removeprefix(SQLITE)
    try:
        from est_server.storage.postgres_server import PostgresServer  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise BackendUnavailable(
            "ledger.extra",
            f"state.ledger in server.yaml names PostgreSQL, and {error.name} is not installed",
            hint="pip install 'est-server[postgres]'",
        ) from error
    settings = state.postgres
    try:
        password = None if settings.password is None else settings.password.read(base).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise BackendUnavailable(
            "ledger.password", "state.postgres.password can't be read", hint=str(error)
        ) from error
    return PostgresServer(
        url=state.ledger,
        password=password,
        tls=settings.tls,
        trust=None if settings.trust is None else base / settings.trust,
        connections=settings.connections,
    )


def open_ledger(place: LedgerPlace, node: str = "", actor: str = "est-server") -> Ledger:
    """Return the ledger at `place`; its schema must be there already.

    Args:
        place: as `ledger_place` says.
        node: the server process whose reservations these will be; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be opened.
    """
    if isinstance(place, Path):
        from est_server.storage.sqlite import SqliteLedger  # noqa: PLC0415 - only what is used

        return SqliteLedger(place, node, actor)
    from est_server.storage.postgres import PostgresLedger  # noqa: PLC0415 - only what is used

    return PostgresLedger(place, node, actor)


def open_ledger_to_read(place: LedgerPlace) -> Ledger:
    """Return the ledger at `place` so that nothing of it can be changed.

    Raises:
        BackendUnavailable: ``ledger.unavailable``: the file can't be opened.
    """
    if isinstance(place, Path):
        from est_server.storage.sqlite import read_only_ledger  # noqa: PLC0415 - only what is used

        return read_only_ledger(place)
    from est_server.storage.postgres import ledger_to_read  # noqa: PLC0415 - only what is used

    return ledger_to_read(place)


def open_ephemeral(url: str, password: str | None = None) -> Ephemeral:
    """Return the ephemeral store behind `url`: ``memory:``, or Redis, which need not be there yet.

    Args:
        url: from server.yaml.
        password: of Redis; None if it asks for none.

    Raises:
        ValueError: another kind of URL; the text names what is supported.
    """
    if url == MEMORY:
        from est_server.storage.memory import MemoryEphemeral  # noqa: PLC0415 - only what is used

        return MemoryEphemeral()
    scheme = url.partition("://")[0]
    if scheme not in REDIS:
        raise ValueError(
            f"ephemeral store {scheme!r}: use memory:, redis://HOST:PORT/0, rediss://HOST:PORT/0 "
            "or unix:///PATH"
        )
    from est_server.storage.redis import RedisEphemeral  # noqa: PLC0415 - only what is used

    return RedisEphemeral(url, password)

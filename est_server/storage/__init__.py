"""Adapters of the ledger and ephemeral ports, chosen by URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger

SQLITE = "sqlite:///"
MEMORY = "memory:"
REDIS = ("redis", "rediss", "unix")


def sqlite_path(url: str, base: Path) -> Path:
    """Return the file behind ``sqlite:///relative`` or ``sqlite:////absolute``.

    Raises:
        ValueError: another kind of URL; the text names what is supported.
    """
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        scheme = url.partition("://")[0]  # the rest may hold a password
        raise ValueError(f"ledger {scheme!r}: use sqlite:///RELATIVE or sqlite:////ABSOLUTE/PATH")
    return base / url.removeprefix(SQLITE)


def open_ledger_to_read(url: str, base: Path) -> Ledger:
    """Return the ledger behind `url` so that nothing of it can be changed.

    Args:
        url: from server.yaml.
        base: server.yaml's folder.

    Raises:
        ValueError: as in `sqlite_path`.
        BackendUnavailable: ``ledger.unavailable``: the file can't be opened.
    """
    from est_server.storage.sqlite import read_only_ledger  # noqa: PLC0415 - only what is used

    return read_only_ledger(sqlite_path(url, base))


def open_ledger(url: str, base: Path, node: str = "", actor: str = "est-server") -> Ledger:
    """Return the ledger behind `url`; its schema must be there already.

    Args:
        url: from server.yaml.
        base: server.yaml's folder.
        node: the server process whose reservations these will be; empty for a command.
        actor: whose acts these are in the audit log, where the acts themselves don't say.

    Raises:
        ValueError: as in `sqlite_path`.
        BackendUnavailable: ``ledger.unavailable``: the file can't be opened.
    """
    from est_server.storage.sqlite import SqliteLedger  # noqa: PLC0415 - only what is used loads

    return SqliteLedger(sqlite_path(url, base), node, actor)


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

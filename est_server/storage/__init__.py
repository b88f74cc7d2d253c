"""Adapters of the ledger and ephemeral ports, chosen by URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.ephemeral import Ephemeral
    from est_server.ports.ledger import Ledger

SQLITE = "sqlite:///"
MEMORY = "memory:"


def sqlite_path(url: str, base: Path) -> Path:
    """Return the file behind ``sqlite:///relative`` or ``sqlite:////absolute``.

    Raises:
        ValueError: another kind of URL; the text names what is supported.
    """
    if not url.startswith(SQLITE) or len(url) == len(SQLITE):
        raise ValueError(f"ledger URL {url!r}: use sqlite:///state/ledger.db")
    return base / url.removeprefix(SQLITE)


def open_ledger(url: str, base: Path) -> Ledger:
    """Return the ledger behind `url`; its schema must be there already.

    Args:
        url: from server.yaml.
        base: server.yaml's folder.

    Raises:
        ValueError: as in `sqlite_path`.
    """
    from est_server.storage.sqlite import SqliteLedger  # noqa: PLC0415 - only what is used loads

    return SqliteLedger(sqlite_path(url, base))


def open_ephemeral(url: str) -> Ephemeral:
    """Return the ephemeral store behind `url`.

    Raises:
        ValueError: an unknown kind of URL.
    """
    from est_server.storage.memory import MemoryEphemeral  # noqa: PLC0415 - only what is used loads

    if url != MEMORY:
        raise ValueError(f"ephemeral URL {url!r}: use memory:")
    return MemoryEphemeral()

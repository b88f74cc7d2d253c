"""A file that checkpoints are appended to, for a disk of another machine or one that only grows."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.ports.anchor import Anchor

_MODE = 0o644  # checkpoints are for everybody


@dataclass(frozen=True, slots=True)
class AnchorFile:
    """An `Anchor`; an empty line stands behind each checkpoint."""

    path: Path
    name: str = "file"

    async def write(self, note: str) -> None:
        """Append durably; see `Anchor.write`."""
        try:
            await asyncio.to_thread(self._append, f"{note}\n".encode())
        except OSError as error:
            raise BackendUnavailable(
                "audit.anchor",
                "the checkpoint can't be appended to the anchor",
                hint=f"{self.path}: {error.strerror}",
            ) from error

    def _append(self, data: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.path, flags, _MODE)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(0, "only a part was written")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


_: type[Anchor] = AnchorFile

"""Places that keep checkpoints of the audit log where this machine can't take them back."""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """One such place."""

    @property
    def name(self) -> str:
        """What metrics and the log call it."""
        ...

    async def write(self, note: str) -> bytes | None:
        """Write a checkpoint down; the same one may come again.

        Returns:
            What the place gave for it, to be kept with the checkpoint, if it gives anything.

        Raises:
            BackendUnavailable: ``audit.anchor``: it is not certain that it was written.
        """
        ...

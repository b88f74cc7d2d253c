"""The command that `follow` runs when its file has changed."""

from __future__ import annotations

import asyncio
import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import Denied

if TYPE_CHECKING:
    from pathlib import Path

    from est_server.cli.follow_told import Told

_REST = 1.0  # seconds between two runs, so that a fleet's end does not mean a reload each moment
_SHORTEST_BACKOFF, _LONGEST_BACKOFF = 1.0, 30.0
_SECONDS = 60.0
_TOLD_OCTETS = 500


@dataclass(slots=True)
class Command:
    """Runs one command at a time, again until it succeeds.

    Attributes:
        text: for the shell.
        target: the file, in the variable CRL_FILE.
        told: who is told that it fails.
        wanted: whether the file has changed since the last success.
    """

    text: str
    target: Path
    told: Told
    wanted: bool = False
    _at: float = 0.0
    _backoff: float = 0.0

    def pause(self) -> float:
        """Return the seconds until it has to run."""
        return max(0.0, self._at - asyncio.get_running_loop().time())

    async def run_if_due(self) -> None:
        """Run it if it is wanted and has rested."""
        now = asyncio.get_running_loop().time
        if not self.wanted or now() < self._at:
            return
        try:
            await self.run()
        except Denied as error:
            self.told.problem("exec", error)
            self._backoff = min(_LONGEST_BACKOFF, max(_SHORTEST_BACKOFF, 2 * self._backoff))
            self._at = now() + self._backoff
        else:
            self.told.well("exec")
            self.wanted, self._backoff = False, 0.0
            self._at = now() + _REST

    async def run(self) -> None:
        """Run it now.

        Raises:
            Denied: ``follow.exec``: it failed, or took too long.
        """
        # a file, since a program that stays behind would keep a pipe open
        with tempfile.TemporaryFile() as said:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh", "-c", self.text,
                stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said,
                env={**os.environ, "CRL_FILE": str(self.target)},
            )  # fmt: skip
            try:
                async with asyncio.timeout(_SECONDS):
                    code = await process.wait()
            except TimeoutError as error:
                process.kill()
                await process.wait()
                text = f"--exec took more than {_SECONDS:.0f} seconds"
                raise Denied("follow.exec", text) from error
            if code:
                said.seek(0)
                words = said.read(_TOLD_OCTETS).decode("utf-8", "replace").split()
                text = f"--exec ended with {code}: {' '.join(words)}"
                raise Denied("follow.exec", text)

"""Signs with one key of a token, over as many of its sessions as are allowed.

A session signs one digest after the other. A token behind a network takes milliseconds for each and
can do many at a time: then more sessions are more signatures. They are opened when they are needed:
the first one first, which alone finds out whether the token is there; the others beside one that
works, when everyone else has something to do.

A session that ends takes nothing with it: what it was asked for is asked again of another, or of
its successor, since nobody has seen the signature that may have been made.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from backends.pkcs11_child import EndedError
from backends.pkcs11_session import Login, Session, SignerUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.pkcs11_messages import Failed, Opened, Opening


class Signer:
    """Signs digests in other processes.

    Args:
        opening: as in `Login`, as are timeout and hidden.
        sessions: how many processes there may be.
    """

    def __init__(
        self,
        opening: Callable[[], Opening],
        timeout: float,
        hidden: frozenset[str] = frozenset(),
        sessions: int = 1,
    ) -> None:
        login = Login(opening, timeout, hidden)
        self._sessions = [Session(login) for _ in range(sessions)]

    @property
    def sessions(self) -> str:
        """How many there are and may be, for people."""
        there = sum(session.waiting is not None for session in self._sessions)
        return f"{there} of {len(self._sessions)} sessions"

    async def opened(self) -> Opened:
        """Return what was opened; start a process if there is none.

        Raises:
            SignerUnavailableError: it can't be started now.
        """
        return await self._free().opened()

    async def sign(self, digest: bytes) -> bytes:
        """Return the signature over `digest`, not yet checked.

        Raises:
            SignerUnavailableError: the token gives none now.
        """
        for _ in self._sessions:
            try:
                return await self._free().sign(digest)
            except EndedError:
                continue
        try:
            return await self._free().sign(digest)
        except EndedError as error:
            raise SignerUnavailableError(error.failed, 1.0) from error

    def hurry(self) -> None:
        """Let the next request start a process, pause or not."""
        for session in self._sessions:
            session.hurry()

    def distrust(self, why: Failed) -> None:
        """End the processes: what one signed does not verify."""
        for session in self._sessions:
            session.distrust(why)

    async def close(self) -> None:
        """End the processes and wait for them."""
        await asyncio.gather(*(session.close() for session in self._sessions))

    def _free(self) -> Session:
        """Return who has least to do, and have another session opened if that is something."""
        working = [one for one in self._sessions if one.waiting is not None]
        if not working:
            return self._sessions[0]
        chosen = min(working, key=lambda session: session.waiting or 0)
        if chosen.waiting:
            idle = (one for one in self._sessions if one.waiting is None)
            if (another := next(idle, None)) is not None:
                another.start()
        return chosen

"""One signing process, seen from the server, from its start to its end.

Requests that come while a batch is on its way travel together in the next line.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from backends.pkcs11_messages import LONGEST_LINE, Failed, Opened, decode, encode

if TYPE_CHECKING:
    from backends.pkcs11_messages import Message, Opening

_BATCH = 64
_LEAVES_WITHIN = 2.0
SILENT = Failed("the signing process ended", "see the log; it is started anew")


class EndedError(Exception):
    """The process ended with requests in it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class SigningProcess:
    """One process.

    Attributes:
        opened: what it opened.
        ended: why it ended; None while it runs.
        heard_at: when it last gave a signature, or was first asked for one after a rest.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None  # noqa: S101 - it was asked for
        assert process.stdout is not None  # noqa: S101 - as above
        self._process = process
        self._to, self._from = process.stdin, process.stdout
        self._number = 0
        self._waiting: dict[int, asyncio.Future[bytes]] = {}
        self._outbox: deque[tuple[int, bytes]] = deque()
        self._reader: asyncio.Task[None] | None = None
        self.opened = Opened("")
        self.ended: Failed | None = None
        self.heard_at = 0.0

    @classmethod
    async def start(cls, environment: dict[str, str]) -> SigningProcess:
        """Return a new process that has opened nothing yet."""
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # what lies in the working directory is no module of ours
                "-m",
                "backends.pkcs11_process",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LONGEST_LINE,
                env=environment,
            )
        )

    @property
    def gone(self) -> bool:
        """Whether the system has nothing left of it."""
        return self._process.returncode is not None

    @property
    def waiting(self) -> int:
        """How many digests it has not signed yet."""
        return len(self._waiting)

    async def open(self, opening: Opening) -> Opened:
        """Have it open a token, and listen to it from then on.

        Raises:
            EndedError: it could not.
        """
        with suppress(ConnectionError):
            self._to.write(encode(opening))
        message = await self._message()
        if not isinstance(message, Opened):
            failed = message if isinstance(message, Failed) else SILENT
            self.end(failed)
            raise EndedError(failed)
        self._reader = asyncio.create_task(self._listen())
        return message

    def ask(self, digest: bytes) -> asyncio.Future[bytes]:
        """Return the signature over `digest`, to be waited for."""
        if self.ended is not None:
            raise EndedError(self.ended)
        if not self._waiting:
            self.heard_at = time.monotonic()
        loop = asyncio.get_running_loop()
        self._number += 1
        number = self._number
        answer: asyncio.Future[bytes] = loop.create_future()
        self._waiting[number] = answer
        if not self._outbox:
            loop.call_soon(self._send)  # with everything else that this turn of the loop asks for
        self._outbox.append((number, digest))
        return answer

    def _send(self) -> None:
        while self._outbox and self.ended is None:
            batch = [self._outbox.popleft() for _ in range(min(_BATCH, len(self._outbox)))]
            # who went away needs no signature
            wanted = tuple(one for one in batch if not self._waiting[one[0]].done())
            for number, _ in set(batch) - set(wanted):
                del self._waiting[number]
            if wanted:
                self._to.write(encode(wanted))

    async def _listen(self) -> None:
        while isinstance(message := await self._message(), tuple):
            self.heard_at = time.monotonic()
            for number, signature in message:
                answer = self._waiting.pop(number, None)
                if answer is not None and not answer.done():
                    answer.set_result(signature)
        self.end(message if isinstance(message, Failed) else SILENT)

    async def _message(self) -> Message | None:
        """Return what it says next; None if it ended without a word or says what means nothing."""
        try:
            line = await self._from.readline()
            return decode(line) if line else None
        except (ValueError, ConnectionError):
            return None

    def end(self, why: Failed) -> None:
        """End it, whatever it is doing; all that wait are told."""
        if self.ended is None:
            self.ended = why
            if not self.gone:
                # not Process.kill(): it reaps what has died behind the back of asyncio's watcher
                with suppress(ProcessLookupError):
                    os.kill(self._process.pid, signal.SIGKILL)
            self._to.close()
            self._outbox.clear()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(EndedError(why))
            self._waiting.clear()

    async def leave(self) -> None:
        """Let it end by itself, and make it if it does not."""
        self._to.close()
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVES_WITHIN)
        except TimeoutError:
            self.end(SILENT)
            await self._process.wait()
        self.end(SILENT)
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader

"""The server's side of a signing process: started when it is needed, and again when it ended.

Requests that come while a batch is on its way travel together in the next line. A process that
gives no signature for as long as `timeout` hangs and is killed; one that ends takes nothing with
it, since what it was asked for is asked once more of its successor. After that, failing is quick:
until the pause is over every request is refused at once, and the first one after it tries again.

A PIN that was refused is never sent a second time: tokens lock themselves. Only another PIN is.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from backends.pkcs11_messages import LONGEST_LINE, Failed, Opened, decode, encode

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.pkcs11_messages import Message, Opening

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
"""Seconds before a process is started again: doubled with each failure in a row."""
_MOST_WAITING = 2048
"""Digests that wait: at a thousand signatures a second the last one waits two seconds."""
_BATCH = 64
_LEAVES_WITHIN = 2.0


class SignerUnavailableError(Exception):
    """Nothing can be signed now.

    Attributes:
        failed: why, and what to do.
        retry_after: seconds after which trying again makes sense.
    """

    def __init__(self, failed: Failed, retry_after: float) -> None:
        super().__init__(failed.message)
        self.failed = failed
        self.retry_after = retry_after


class _EndedError(Exception):
    """The process ended with requests in it."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.message)
        self.failed = failed


class Signer:
    """Signs digests in another process.

    Args:
        opening: says what to open, and reads the PIN anew each time; raises OSError.
        timeout: seconds for a process to open its token, and to give a signature.
        hidden: names of environment variables that the process does not get: they hold secrets.
    """

    def __init__(
        self, opening: Callable[[], Opening], timeout: float, hidden: frozenset[str] = frozenset()
    ) -> None:
        self._opening = opening
        self._timeout = timeout
        self._hidden = hidden
        self._process: _Process | None = None
        self._not_gone: list[_Process] = []
        self._starting: asyncio.Task[_Process] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last: Failed | None = None
        self._refused: tuple[bytes, Failed] | None = None

    async def opened(self) -> Opened:
        """Return what the process opened; start it if there is none.

        Raises:
            SignerUnavailableError: it can't be started now.
        """
        return (await self._running()).opened

    async def sign(self, digest: bytes) -> bytes:
        """Return the signature over `digest`, not yet checked.

        Raises:
            SignerUnavailableError: the token gives none now.
        """
        try:
            return await self._sign(await self._running(), digest)
        except _EndedError:
            pass  # asked once more: nobody has seen the signature that may have been made
        try:
            return await self._sign(await self._running(), digest)
        except _EndedError as error:
            raise self._unavailable(error.failed) from error

    def hurry(self) -> None:
        """Let the next request start a process, pause or not."""
        self._not_before = 0.0

    def distrust(self, why: Failed) -> None:
        """End the process: what it signed does not verify."""
        if self._process is not None:
            self._process.end(why)

    async def close(self) -> None:
        """End the process and wait for it."""
        if self._starting is not None:
            self._starting.cancel()
            with suppress(asyncio.CancelledError, SignerUnavailableError):
                await self._starting
        self._process = None
        for process in self._not_gone:
            await process.leave()

    async def _sign(self, process: _Process, digest: bytes) -> bytes:
        if process.waiting >= _MOST_WAITING:
            text = f"{process.waiting} signatures wait for the token already"
            failed = Failed(text, "spread the load, or get a faster token")
            raise SignerUnavailableError(failed, 1.0)
        answer = process.ask(digest)
        try:
            signature = await asyncio.wait_for(answer, self._timeout)
        except TimeoutError:
            text = f"the token gave no signature within {self._timeout:g} s"
            failed = Failed(text, "see the token's own log; its process is started anew")
            if time.monotonic() - process.heard_at >= self._timeout:
                process.end(failed)
                self._failed(failed)
            raise SignerUnavailableError(failed, 1.0) from None
        self._failures, self._last = 0, None
        return signature

    async def _running(self) -> _Process:
        process = self._process
        if process is not None and process.ended is None:
            return process
        if process is not None:
            self._process = None
            self._failed(process.ended or Failed("the signing process ended", ""))
        if self._starting is None:
            self._check_may_start()
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        # a device that goes away must not end what others wait for
        return await asyncio.shield(self._starting)

    def _started(self, task: asyncio.Task[_Process]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may be waiting any more

    def _check_may_start(self) -> None:
        if self._last is not None and time.monotonic() < self._not_before:
            raise self._unavailable(self._last)

    async def _start(self) -> _Process:
        try:
            opening = self._opening()
        except (OSError, UnicodeDecodeError) as error:
            failed = Failed(f"its PIN can't be read: {error}", "check what `pin` names")
            raise self._failed(failed) from error
        pin = sha256(opening.pin.encode()).digest()
        if self._refused is not None and pin == self._refused[0]:
            raise self._failed(self._refused[1])
        environment = {k: v for k, v in os.environ.items() if k not in self._hidden}
        process = await _Process.start(environment)
        self._not_gone = [old for old in self._not_gone if not old.gone] + [process]
        try:
            async with asyncio.timeout(self._timeout):
                process.opened = await process.open(opening)
        except TimeoutError:
            failed = Failed(
                f"the token did not open within {self._timeout:g} s",
                "see whether its service or device answers: pkcs11-tool --list-token-slots",
            )
            process.end(failed)
            raise self._failed(failed) from None
        except _EndedError as error:
            if error.failed.pin_refused:
                self._refused = pin, error.failed
            raise self._failed(error.failed) from error
        except BaseException:
            process.end(Failed("it is not needed any more", ""))
            raise
        self._process = process
        return process

    def _failed(self, failed: Failed) -> SignerUnavailableError:
        """Make the pause longer; the first process that ends has its successor at once."""
        self._last = failed
        self._failures += 1
        pause = min(_FIRST_PAUSE * 2 ** (self._failures - 2), _LONGEST_PAUSE)
        self._not_before = time.monotonic() + (pause if self._failures > 1 else 0.0)
        return self._unavailable(failed)

    def _unavailable(self, failed: Failed) -> SignerUnavailableError:
        return SignerUnavailableError(failed, max(1.0, self._not_before - time.monotonic()))


class _Process:
    """One process, from its start to its end.

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
    async def start(cls, environment: dict[str, str]) -> _Process:
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
            _EndedError: it could not.
        """
        with suppress(ConnectionError):
            self._to.write(encode(opening))
        message = await self._message()
        if not isinstance(message, Opened):
            failed = message if isinstance(message, Failed) else _SILENT
            self.end(failed)
            raise _EndedError(failed)
        self._reader = asyncio.create_task(self._listen())
        return message

    def ask(self, digest: bytes) -> asyncio.Future[bytes]:
        """Return the signature over `digest`, to be waited for."""
        if self.ended is not None:
            raise _EndedError(self.ended)
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
        self.end(message if isinstance(message, Failed) else _SILENT)

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
                    answer.set_exception(_EndedError(why))
            self._waiting.clear()

    async def leave(self) -> None:
        """Let it end by itself, and make it if it does not."""
        self._to.close()
        try:
            await asyncio.wait_for(self._process.wait(), _LEAVES_WITHIN)
        except TimeoutError:
            self.end(_SILENT)
            await self._process.wait()
        self.end(_SILENT)
        if self._reader is not None:
            self._reader.cancel()
            with suppress(asyncio.CancelledError):
                await self._reader


_SILENT = Failed("the signing process ended", "see the log; it is started anew")

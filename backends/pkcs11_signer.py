"""The server's side of a signing process: started when it is needed, and again when it ended.

A process that gives no signature for as long as `timeout` hangs and is killed; one that ends takes
nothing with it, since what it was asked for is asked once more of its successor. After that,
failing is quick: until the pause is over every request is refused at once, and the first one after
it tries again.

A PIN that was refused is never sent a second time: tokens lock themselves. Only another PIN is.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from backends.pkcs11_child import EndedError, SigningProcess
from backends.pkcs11_messages import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.pkcs11_messages import Opened, Opening

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
"""Seconds before a process is started again: doubled with each failure in a row."""
_MOST_WAITING = 2048
"""Digests that wait: at a thousand signatures a second the last one waits two seconds."""


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
        self._process: SigningProcess | None = None
        self._not_gone: list[SigningProcess] = []
        self._starting: asyncio.Task[SigningProcess] | None = None
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
        except EndedError:
            pass  # asked once more: nobody has seen the signature that may have been made
        try:
            return await self._sign(await self._running(), digest)
        except EndedError as error:
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

    async def _sign(self, process: SigningProcess, digest: bytes) -> bytes:
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

    async def _running(self) -> SigningProcess:
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

    def _started(self, task: asyncio.Task[SigningProcess]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may be waiting any more

    def _check_may_start(self) -> None:
        if self._last is not None and time.monotonic() < self._not_before:
            raise self._unavailable(self._last)

    async def _start(self) -> SigningProcess:
        try:
            opening = self._opening()
        except (OSError, UnicodeDecodeError) as error:
            failed = Failed(f"its PIN can't be read: {error}", "check what `pin` names")
            raise self._failed(failed) from error
        pin = sha256(opening.pin.encode()).digest()
        if self._refused is not None and pin == self._refused[0]:
            raise self._failed(self._refused[1])
        environment = {k: v for k, v in os.environ.items() if k not in self._hidden}
        process = await SigningProcess.start(environment)
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
        except EndedError as error:
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

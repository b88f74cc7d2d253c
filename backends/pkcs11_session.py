"""One session of a token: a signing process, started when it is needed, and again when it ended.

A process that gives no signature for as long as `timeout` hangs and is killed. Failing is quick:
until the pause is over every request is refused at once, and the first one after it tries again.

A PIN that was refused is never sent a second time, by any session of the token: tokens lock
themselves. Only another PIN is.
"""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Login:
    """How the sessions of one token log in: one after the other.

    Attributes:
        opening: says what to open, and reads the PIN anew each time; raises OSError.
        timeout: seconds for a process to open its token, and to give a signature.
        hidden: names of environment variables that the processes do not get: they hold secrets.
        refused: SHA-256 of the PIN that the token refused, and what it said.
        turn: held by the session that logs in.
    """

    opening: Callable[[], Opening]
    timeout: float
    hidden: frozenset[str] = frozenset()
    refused: tuple[bytes, Failed] | None = None
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Session:
    """Signs digests in another process, one after the other."""

    def __init__(self, login: Login) -> None:
        self._login = login
        self._process: SigningProcess | None = None
        self._not_gone: list[SigningProcess] = []
        self._starting: asyncio.Task[SigningProcess] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._last: Failed | None = None

    @property
    def waiting(self) -> int | None:
        """How many digests its process has not signed yet; None while there is no process."""
        process = self._process
        return None if process is None or process.ended is not None else process.waiting

    async def opened(self) -> Opened:
        """Return what the process opened; start it if there is none.

        Raises:
            SignerUnavailableError: it can't be started now.
        """
        return (await self._running()).opened

    async def sign(self, digest: bytes) -> bytes:
        """Return the signature over `digest`, not yet checked.

        Raises:
            EndedError: the process ended before it gave one.
            SignerUnavailableError: the token gives none now.
        """
        return await self._sign(await self._running(), digest)

    def start(self) -> None:
        """Have a process started, if there is none and the pause is over; nobody waits for it."""
        if self.waiting is None:
            with suppress(SignerUnavailableError):
                self._begin()

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
            signature = await asyncio.wait_for(answer, self._login.timeout)
        except TimeoutError:
            text = f"the token gave no signature within {self._login.timeout:g} s"
            failed = Failed(text, "see the token's own log; its process is started anew")
            if time.monotonic() - process.heard_at >= self._login.timeout:
                process.end(failed)
                self._failed(failed)
            raise SignerUnavailableError(failed, 1.0) from None
        self._failures, self._last = 0, None
        return signature

    async def _running(self) -> SigningProcess:
        process = self._process
        if process is not None and process.ended is None:
            return process
        # a device that goes away must not end what others wait for
        return await asyncio.shield(self._begin())

    def _begin(self) -> asyncio.Task[SigningProcess]:
        process, self._process = self._process, None
        if process is not None:
            self._failed(process.ended or Failed("the signing process ended", ""))
        if self._starting is None:
            self._check_may_start()
            self._starting = asyncio.create_task(self._start())
            self._starting.add_done_callback(self._started)
        return self._starting

    def _started(self, task: asyncio.Task[SigningProcess]) -> None:
        self._starting = None
        if not task.cancelled():
            task.exception()  # whoever waits is told; nobody may be waiting any more

    def _check_may_start(self) -> None:
        if self._last is not None and time.monotonic() < self._not_before:
            raise self._unavailable(self._last)

    async def _start(self) -> SigningProcess:
        async with self._login.turn:
            return await self._logged_in(self._login)

    async def _logged_in(self, login: Login) -> SigningProcess:
        try:
            opening = login.opening()
        except (OSError, UnicodeDecodeError) as error:
            failed = Failed(f"its PIN can't be read: {error}", "check what `pin` names")
            raise self._failed(failed) from error
        pin = sha256(opening.pin.encode()).digest()
        if login.refused is not None and pin == login.refused[0]:
            raise self._failed(login.refused[1])
        environment = {k: v for k, v in os.environ.items() if k not in login.hidden}
        process = await SigningProcess.start(environment)
        self._not_gone = [old for old in self._not_gone if not old.gone] + [process]
        try:
            async with asyncio.timeout(login.timeout):
                process.opened = await process.open(opening)
        except TimeoutError:
            failed = Failed(
                f"the token did not open within {login.timeout:g} s",
                "see whether its service or device answers: pkcs11-tool --list-token-slots",
            )
            process.end(failed)
            raise self._failed(failed) from None
        except EndedError as error:
            if error.failed.pin_refused:
                login.refused = pin, error.failed
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

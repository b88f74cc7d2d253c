"""A supervisor and its workers: the same command, started anew for each, on the same sockets.

    SIGTERM, SIGINT   the workers drain, then everything ends
    SIGHUP            every worker reads the configuration again
    SIGUSR2           workers of the code that is on disk now are started; when all of them are
                      ready, those of before drain, and this process becomes the new supervisor
                      without another number. If one does not start, everything stays

A worker that ends is started again, after a pause that doubles while it does not last. One that
can't start at all ends the supervisor, with its exit code, only while there was none before.
`docs/adr/0031-a-supervisor-that-stays.md` tells why it is made like this.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import structlog
from prometheus_client.multiprocess import mark_process_dead

from est_server.app.sockets import adopt, numbers
from est_server.app.worker import Inheritance
from est_server.config.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.app.sockets import Sockets

_VARIABLE = "EST_SERVER_SUPERVISOR"
_METRICS = "PROMETHEUS_MULTIPROC_DIR"
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0
_STEADY = 60.0  # seconds after which a worker's end is its first again
_STARTS_WITHIN = 120.0
_LONGER = 10.0  # seconds that a worker has beyond its grace before it is killed
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD)

log = structlog.get_logger("supervisor")


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same from one supervisor to the next.

    Attributes:
        workers: how many.
        grace: seconds that a worker lets requests take when it ends.
        log_level: of the log.
        log_format: of the log.
    """

    workers: int
    grace: float
    log_level: str
    log_format: str


@dataclass(slots=True, eq=False)
class _Worker:
    """One worker process: number, slot, when it began, and what becomes known of it."""

    pid: int
    slot: int
    began: float
    ready: asyncio.Future[None]
    ended: asyncio.Future[int]
    reloads: bool = False  # as soon as it is ready: before, a signal would end it


@dataclass(slots=True)
class Supervisor:
    """Keeps workers running.

    Attributes:
        settings: how many, and how.
        sockets: what they listen on.
        metrics: the folder in which they count together.
        life: the two ends of the pipe that ends with this process.
        migrate: whether the first worker upgrades the ledger.
        adopted: process numbers of workers that the supervisor before left, by slot.
    """

    settings: Settings
    sockets: Sockets
    metrics: str
    life: tuple[int, int]
    migrate: bool = False
    adopted: Sequence[int] = ()
    _slots: list[_Worker] = field(default_factory=list)
    _all: set[_Worker] = field(default_factory=set)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _upgrading: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT and return the exit code."""
        self._listen_to_signals()
        self._slots = [self._known(pid, slot) for slot, pid in enumerate(self.adopted)]
        self._reap()
        if not self._slots:
            first = self._start(0)
            if not await self._starts(first):
                return await self._give_up(first)
            self._slots = [first, *map(self._start, range(1, self.settings.workers))]
            await asyncio.gather(*map(self._starts, self._slots))
        log.info("workers.supervised", pid=os.getpid(), workers=[one.pid for one in self._slots])
        keepers = [asyncio.create_task(self._keep(slot)) for slot in range(len(self._slots))]
        while not self._stopping.is_set():
            await _any_of(self._stopping.wait(), self._upgrading.wait())
            if self._upgrading.is_set() and not self._stopping.is_set():
                await self._upgrade()
                self._upgrading.clear()
        for keeper in keepers:
            keeper.cancel()
        for found in self.sockets.values():
            for one in found:
                one.close()  # nobody would accept what comes now
        await self._end(self._all)
        shutil.rmtree(self.metrics, ignore_errors=True)
        log.info("workers.stopped")
        return 0

    # -- signals -----------------------------------------------------------------------------------

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        loop.add_signal_handler(signal.SIGUSR2, self._upgrading.set)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)  # the one before blocked them

    def _reload(self) -> None:
        for worker in self._all:
            if worker.ready.done():
                os.kill(worker.pid, signal.SIGHUP)
            else:
                worker.reloads = True

    def _reap(self) -> None:
        for worker in [*self._all]:
            found, status = os.waitpid(worker.pid, os.WNOHANG)
            if found:
                self._all.discard(worker)
                mark_process_dead(worker.pid, self.metrics)  # type: ignore[no-untyped-call]  # as it is
                worker.ended.set_result(os.waitstatus_to_exitcode(status))

    # -- one worker --------------------------------------------------------------------------------

    def _start(self, slot: int) -> _Worker:
        heard, said = os.pipe()
        part = Inheritance(numbers(self.sockets), said, self.life[0], self.migrate)
        self.migrate = False
        command = _command()
        pid = os.posix_spawn(
            command[0],
            command,
            {**os.environ, **part.variables(), _METRICS: self.metrics},
            file_actions=[(os.POSIX_SPAWN_DUP2, one, one) for one in part.descriptors()],
        )
        os.close(said)
        worker = self._known(pid, slot)
        asyncio.get_running_loop().add_reader(heard, self._hear, heard, worker)
        return worker

    def _known(self, pid: int, slot: int) -> _Worker:
        loop = asyncio.get_running_loop()
        worker = _Worker(pid, slot, loop.time(), loop.create_future(), loop.create_future())
        if pid in self.adopted:
            worker.ready.set_result(None)
        self._all.add(worker)
        return worker

    def _hear(self, heard: int, worker: _Worker) -> None:
        asyncio.get_running_loop().remove_reader(heard)
        if os.read(heard, 16):
            worker.ready.set_result(None)
            if worker.reloads:
                os.kill(worker.pid, signal.SIGHUP)
        os.close(heard)

    async def _starts(self, worker: _Worker) -> bool:
        """Return whether a worker became ready, once that is known."""
        try:
            async with asyncio.timeout(_STARTS_WITHIN):
                await _any_of(
                    asyncio.shield(worker.ready),
                    asyncio.shield(worker.ended),
                    self._stopping.wait(),
                )
        except TimeoutError:
            log.error("worker.not-ready", pid=worker.pid, seconds=_STARTS_WITHIN)  # noqa: TRY400 - a traceback says nothing
        return worker.ready.done() and not worker.ended.done()

    async def _keep(self, slot: int) -> None:
        """Start the worker of a slot again whenever it ends."""
        pause = _FIRST_PAUSE
        loop = asyncio.get_running_loop()
        while True:
            worker = self._slots[slot]
            code = await asyncio.shield(worker.ended)
            if self._slots[slot] is not worker:
                continue
            pause = _FIRST_PAUSE if loop.time() - worker.began > _STEADY else pause
            log.error("worker.ended", pid=worker.pid, code=code, again_in=pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            if self._slots[slot] is worker:
                self._slots[slot] = self._start(slot)

    # -- all of them -------------------------------------------------------------------------------

    async def _give_up(self, worker: _Worker) -> int:
        """Return the exit code after the first worker did not start."""
        if not worker.ended.done():
            await self._end({worker})
        shutil.rmtree(self.metrics, ignore_errors=True)
        if self._stopping.is_set():
            return 0
        return max(1, worker.ended.result())

    async def _end(self, workers: set[_Worker] | Sequence[_Worker]) -> None:
        """Let workers drain, and kill those that take much longer than they may."""
        waiting = [worker for worker in workers if not worker.ended.done()]
        for worker in waiting:
            os.kill(worker.pid, signal.SIGTERM)
        if waiting:
            ends = [asyncio.shield(worker.ended) for worker in waiting]
            await asyncio.wait(ends, timeout=self.settings.grace + _LONGER)
        for worker in waiting:
            if not worker.ended.done():
                log.error("worker.killed", pid=worker.pid)
                os.kill(worker.pid, signal.SIGKILL)
                await worker.ended

    async def _upgrade(self) -> None:
        """Put workers of the code on disk in the place of these, and become their supervisor."""
        log.info("upgrade.begins")
        fresh = [self._start(slot) for slot in range(len(self._slots))]
        if not all(await asyncio.gather(*map(self._starts, fresh))):
            await self._end(fresh)
            if not self._stopping.is_set():
                hint = "the workers of before go on; what the new ones say is above"
                log.error("upgrade.failed", hint=hint)
            return
        before, self._slots = self._slots, fresh
        await self._end(before)
        log.info("upgrade.done")
        if not self._stopping.is_set():
            self._become_the_next()

    def _become_the_next(self) -> None:
        """Run the new supervisor in this process; its children and their sockets stay."""
        state = {
            "settings": asdict(self.settings),
            "sockets": numbers(self.sockets),
            "metrics": self.metrics,
            "life": self.life,
            "adopted": [worker.pid for worker in self._slots],
        }
        kept = [*self.life, *(one for found in numbers(self.sockets).values() for one in found)]
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the next one listens to them
        for descriptor in kept:
            os.set_inheritable(descriptor, True)  # noqa: FBT003 - the name of the function says it
        command = _command()
        try:
            os.execve(command[0], command, {**os.environ, _VARIABLE: json.dumps(state)})  # noqa: S606 - this very command
        except OSError as error:
            for descriptor in kept:
                os.set_inheritable(descriptor, False)  # noqa: FBT003 - as above
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            log.error("upgrade.supervisor-stays", error=str(error))  # noqa: TRY400 - the text is all there is


def new_supervisor(settings: Settings, sockets: Sockets, *, migrate: bool) -> Supervisor:
    """Return the supervisor of workers that are still to be started."""
    folder = tempfile.mkdtemp(prefix="est-server-metrics-")
    return Supervisor(settings, sockets, folder, os.pipe(), migrate=migrate)


def next_supervisor() -> Supervisor | None:
    """Return the supervisor of workers that the one before left in this process; None at first."""
    found = os.environ.pop(_VARIABLE, None)
    if found is None:
        return None
    state = json.loads(found)
    settings = Settings(**state["settings"])
    configure_logs(settings.log_level, settings.log_format)  # type: ignore[arg-type]  # its own
    for descriptor in state["life"]:
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - the name of the function says it
    return Supervisor(
        settings,
        adopt(state["sockets"]),
        state["metrics"],
        tuple(state["life"]),
        adopted=state["adopted"],
    )


def _command() -> list[str]:
    """Return the command that this process was started with, from the code on disk."""
    return [sys.executable, *sys.orig_argv[1:]]


async def _any_of(*waits: object) -> None:
    """Return when one of these is over."""
    futures = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for future in futures:
            future.cancel()

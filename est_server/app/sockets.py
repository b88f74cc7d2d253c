"""The sockets that a server listens on: made once, perhaps shared by several processes.

Workers inherit the sockets of their supervisor. One queue of connections serves all of them, so
that none is lost when a worker ends: what it has not accepted, another one does. A worker takes one
connection at a time, or the first to wake would take everything
(`docs/adr/0030-workers-share-one-socket.md`).
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from est_server.config.server import host_and_port
from est_server.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from est_server.config.server import Listeners

    Factory = Callable[[], asyncio.BaseProtocol]

Sockets = dict[str, list[socket.socket]]
"""By the listener's name in server.yaml."""

_BACKLOG = 1024
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_AGAIN_AFTER = 1.0  # seconds without a file to open

log = structlog.get_logger("sockets")


def bind(listeners: Listeners, wanted: Iterable[str]) -> Sockets:
    """Return listening sockets for those of `wanted` that are configured.

    Raises:
        BackendUnavailable: ``listener.address``: an address can't be had.
    """
    found: dict[str, list[socket.socket]] = {}
    for name in wanted:
        listener = getattr(listeners, name)
        if listener is not None:
            try:
                found[name] = [_listening(*one) for one in _addresses(listener.listen)]
            except OSError as error:
                raise BackendUnavailable(
                    "listener.address",
                    f"listeners.{name}.listen: {listener.listen}: {error.strerror or error}",
                    hint=f"see who has it: ss -ltnp 'sport = :{host_and_port(listener.listen)[1]}'",
                ) from error
    return found


def _addresses(address: str) -> Sequence[tuple[socket.AddressFamily, object]]:
    host, port = host_and_port(address)
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [*dict.fromkeys((family, at) for family, _, _, _, at in found)]


def _listening(family: socket.AddressFamily, at: object) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(at)  # type: ignore[arg-type]  # an address of its family
        made.listen(_BACKLOG)
        made.setblocking(False)  # noqa: FBT003 - the name of the method says it
    except OSError:
        made.close()
        raise
    return made


def numbers(sockets: Sockets) -> dict[str, list[int]]:
    """Return the file descriptors, for another process."""
    return {name: [one.fileno() for one in found] for name, found in sockets.items()}


def adopt(descriptors: Mapping[str, Sequence[int]]) -> Sockets:
    """Return the sockets that were inherited; no child of this process gets them by accident."""
    for found in descriptors.values():
        for descriptor in found:
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - the name of the function says it
    return {
        name: [socket.socket(fileno=descriptor) for descriptor in found]
        for name, found in descriptors.items()
    }


def address_of(sockets: Sequence[socket.socket]) -> str:
    """Return where a listener is, as in server.yaml; a port that was taken at random is known."""
    host, port = sockets[0].getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(slots=True)
class Acceptor:
    """Accepts the connections of one listener in this process.

    Attributes:
        sockets: where they come in.
        factory: makes the protocol of each.
        at_once: how many are taken before anything else is done.
    """

    sockets: Sequence[socket.socket]
    factory: Factory
    at_once: int
    _tasks: set[asyncio.Task[object]] = field(default_factory=set)
    _open: bool = False

    def start(self) -> None:
        """Begin."""
        self._open = True
        loop = asyncio.get_running_loop()
        for one in self.sockets:
            loop.add_reader(one, self._accept, one)

    async def stop(self) -> None:
        """Accept what has come and nothing more; return when all of it has its protocol."""
        self._open = False
        loop = asyncio.get_running_loop()
        self.at_once = _BACKLOG
        for one in self.sockets:
            self._accept(one)
            loop.remove_reader(one)
            one.close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(self.at_once):
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return  # another process was faster, or the client has gone
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                log.error("listener.full", error=str(error))  # noqa: TRY400 - the text is all there is
                loop.remove_reader(listening)
                loop.call_later(_AGAIN_AFTER, self._resume, listening)
                return
            accepted.setblocking(False)  # noqa: FBT003 - the name of the method says it
            task = loop.create_task(self._connect(accepted))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        await asyncio.get_running_loop().connect_accepted_socket(self.factory, accepted)

    def _resume(self, listening: socket.socket) -> None:
        if self._open:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

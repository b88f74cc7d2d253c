"""Client processes that send prepared requests over TLS or plain TCP, as fast as one server takes.

Each process has threads, each with one connection at a time: enough requests are under way to keep
the server busy, and OpenSSL's work in one thread leaves the interpreter to the others.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from threading import Thread
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from measure import Contender, Driven

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from multiprocessing.connection import Connection

_PATIENCE = 30.0  # seconds for one answer; more is a failure of the whole run


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request: the TLS to speak (None for plain TCP) and the octets to send.

    Attributes:
        then: the octets to send next on the same connection, made from the answer's body.
    """

    context: ssl.SSLContext | None
    request: bytes
    then: Callable[[bytes], bytes] | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of a round a client process has: number `index` of `processes`."""

    index: int
    processes: int
    threads: int
    operations: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """What clients send.

    Attributes:
        address: where the server listens.
        exchanges: makes a share's requests; a function that a new process can import.
        keep_alive: whether a thread sends all on one connection; its first exchange says how.
    """

    address: tuple[str, int]
    exchanges: Callable[[Share], Sequence[Exchange]]
    keep_alive: bool = False


@dataclass(frozen=True, slots=True)
class Clients:
    """Running client processes."""

    pipes: tuple[Connection, ...]
    threads: int

    def contender(self, name: str, pid: int, traffic: Traffic, operations: int) -> Contender:
        """Return `traffic` as a contender with so many operations a round."""

        def prepare() -> None:
            processes = len(self.pipes)
            for index, pipe in enumerate(self.pipes):
                pipe.send((traffic, Share(index, processes, self.threads, operations // processes)))
            for pipe in self.pipes:
                _answer(pipe)

        def drive() -> Driven:
            for pipe in self.pipes:
                pipe.send("go")
            answers = [_answer(pipe) for pipe in self.pipes]
            return Driven(
                sum(answer.operations for answer in answers),
                sum(answer.client_cpu for answer in answers),
                tuple(one for answer in answers for one in answer.latencies),
            )

        return Contender(name, pid, prepare, drive)


@contextmanager
def running_clients(processes: int, threads: int) -> Iterator[Clients]:
    """Start client processes, stop them when the block ends."""
    context = get_context("spawn")
    pairs = [context.Pipe() for _ in range(processes)]
    started = [context.Process(target=_client, args=(theirs,), daemon=True) for _, theirs in pairs]
    for process in started:
        process.start()
    try:
        yield Clients(tuple(ours for ours, _ in pairs), threads)
    finally:
        for process in started:
            process.terminate()
            process.join()


def exchange_once(address: tuple[str, int], exchange: Exchange) -> bytes:
    """Send one request on a connection of its own and return the answer's body."""
    connection = _connect(address, exchange.context)
    try:
        return _exchange(connection, exchange)
    finally:
        _close(connection)


def _answer(pipe: Connection) -> Driven:
    failure, driven = pipe.recv()
    if failure:
        raise RuntimeError(f"a client failed: {failure}")
    return driven


def _client(pipe: Connection) -> None:
    while True:
        traffic, share = pipe.recv()
        try:
            exchanges = traffic.exchanges(share)
        except Exception as error:
            pipe.send((repr(error), None))
            raise
        pipe.send((None, None))  # ready
        pipe.recv()
        failures: list[str] = []
        latencies: list[float] = []
        before = process_time()
        threads = [
            Thread(
                target=_drive, args=(traffic, exchanges[at :: share.threads], failures, latencies)
            )
            for at in range(share.threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        spent = process_time() - before
        pipe.send((next(iter(failures), None), Driven(len(exchanges), spent, tuple(latencies))))


def _drive(
    traffic: Traffic, exchanges: Sequence[Exchange], failures: list[str], latencies: list[float]
) -> None:
    try:
        if traffic.keep_alive:
            connection = _connect(traffic.address, exchanges[0].context)
            for exchange in exchanges:
                asked = perf_counter()
                _exchange(connection, exchange)
                latencies.append(perf_counter() - asked)
            _close(connection)
        else:
            for exchange in exchanges:
                exchange_once(traffic.address, exchange)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent reports it
        failures.append(repr(error))


def _connect(address: tuple[str, int], context: ssl.SSLContext | None) -> socket.socket:
    connection = socket.create_connection(address, _PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection if context is None else context.wrap_socket(connection)


def _exchange(connection: socket.socket, exchange: Exchange) -> bytes:
    body = _ask(connection, exchange.request)
    return body if exchange.then is None else _ask(connection, exchange.then(body))


def _ask(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(request)
    answer = b""
    while not (found := answer.partition(b"\r\n\r\n"))[1]:
        answer += _piece(connection)
    head, _, body = found
    if not head.startswith(b"HTTP/1.1 200 "):
        raise RuntimeError(f"the server answered {answer[:400]!r}")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += _piece(connection)
    return body


def _piece(connection: socket.socket) -> bytes:
    if piece := connection.recv(65536):
        return piece
    raise RuntimeError("the server closed the connection")


def _close(connection: socket.socket) -> None:
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(0)  # say goodbye, and don't wait for the answer: as curl does
        with suppress(OSError):
            connection.unwrap()
    connection.close()

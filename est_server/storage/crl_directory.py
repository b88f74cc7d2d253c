"""A directory of CRLs and compact sets, for a web server of its own, a mirror or a mounted bucket.

A list is written beside the one that it replaces, made durable, then renamed over it; whoever reads
sees the old one or the new one. Two processes take turns by a lock on a file of its own.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.errors import BackendUnavailable, Malformed
from est_server.wire.compact_set import read_compact_set
from est_server.wire.crl_reading import read_crl

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from est_server.ports.publisher import Publisher

_LOCK = ".lock"
_MODE = 0o644  # everybody may read a CRL


@dataclass(frozen=True, slots=True)
class CrlDirectory:
    """A `Publisher` into a directory, which is made when it is missing."""

    path: Path

    async def put(self, name: str, number: int, der: bytes) -> None:
        """Replace a list; see `Publisher.put`."""
        try:
            await asyncio.to_thread(self._put, name, number, der)
        except OSError as error:
            raise self._unavailable(error) from error

    async def number(self, name: str) -> int:
        """Return a list's number; see `Publisher.number`."""
        try:
            return await asyncio.to_thread(self._number, name)
        except OSError as error:
            raise self._unavailable(error) from error

    def _put(self, name: str, number: int, der: bytes) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if self._number(name) >= number:
                return
            replace_durably(self.path / name, der)

    def _number(self, name: str) -> int:
        try:
            der = (self.path / name).read_bytes()
        except FileNotFoundError:
            return 0
        try:
            return (read_compact_set if name.endswith(".set") else read_crl)(der).number
        except Malformed:
            return 0  # nobody can use it

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = os.open(self.path / _LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)  # and with it the lock

    def _unavailable(self, error: OSError) -> BackendUnavailable:
        return BackendUnavailable(
            "publisher.unavailable",
            "a CRL can't be written to its directory",
            hint=f"{self.path}: {error.strerror or error}; the list before stays",
        )


def replace_durably(path: Path, content: bytes) -> None:
    """Replace a file as a whole, or leave it as it was; who calls must be alone at it.

    Raises:
        OSError: it can't be written.
    """
    fresh = path.with_name(f".{path.name}.new")
    try:
        write_durably(fresh, content)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def write_durably(path: Path, content: bytes) -> None:
    """Write a file and return once the disk has it.

    Raises:
        OSError: it can't be written; what is there of it is no use.
    """
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, _MODE)
    try:
        os.fchmod(descriptor, _MODE)  # whatever the umask
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Return once the disk has the names in a directory.

    Raises:
        OSError: it can't.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_: Callable[[Path], Publisher] = CrlDirectory

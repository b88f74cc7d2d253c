"""What the parts of a transaction, and the reads beside them, ask of a database.

A part is a plain function that gets a `Transaction` and runs statements of this room, one after the
other. It is written once; `sqlite` calls it with the driver's own connection, `postgres` in a
greenlet above a driver that has to be awaited.

What a part reads may change before it writes, where several write at once (READ COMMITTED). So:

1. What must be unique is so by constraint. A part that looked before it wrote runs again when
   another was faster, and finds the row then.
2. A change that follows from what was read says so in its WHERE; a part that changed no row then
   raises `Overtaken` or its own refusal.
3. What is counted, or numbered in the order of commits, is behind `Transaction.lock`, taken before
   it is read.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from sqlalchemy import ColumnElement, Executable, Select

T = TypeVar("T")


class Found(Protocol):
    """A row, by the names of its columns or by their places."""

    def __getitem__(self, column: str | int, /) -> Any: ...


class UniqueBroken(Exception):
    """A row would be the second of its kind.

    Attributes:
        columns: ``table.column`` for each one that must be unique, in the constraint's order.
    """

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(", ".join(columns))
        self.columns = tuple(columns)


class Overtaken(Exception):
    """What a part read does not hold any more: it has to run again."""


class Transaction(Protocol):
    """Runs the statements of one part of a transaction."""

    def change(self, statement: Executable, values: Mapping[str, Any], /) -> int:
        """Run a statement and return how many rows it changed.

        Raises:
            UniqueBroken: a unique constraint; the part may only fail then.
        """
        ...

    def find(self, statement: Executable, values: Mapping[str, Any], /) -> Found | None:
        """Return the first row, or None."""
        ...

    def find_all(self, statement: Executable, values: Mapping[str, Any], /) -> Sequence[Found]:
        """Return every row."""
        ...

    def lock(self, name: str, /) -> None:
        """Wait until no other transaction holds the lock of that name, and hold it to the end."""
        ...

    def column(
        self, statement: Executable, values: Mapping[str, Any], most: int, /
    ) -> Iterator[Sequence[Any]]:
        """Return the values of a statement's only column, at most so many at once."""
        ...


class Writer(Protocol):
    """Runs parts that change rows."""

    async def run(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` and return its result once it is durable.

        Args:
            work: changes rows and nothing else; it may run twice.

        Raises:
            EstServerError: what `work` raised; its own statements are undone, no one else's.
            Malformed: ``ledger.value``: a value that no column can hold.
            Conflict: ``ledger.constraint``: a rule of the schema that `work` knows nothing of.
            BackendUnavailable: ``ledger.unavailable``.
        """
        ...

    async def close(self) -> None:
        """Finish what waits, refuse what comes, then close."""
        ...


class Reads(Protocol):
    """Reads what is committed."""

    async def one(self, statement: Executable, values: Mapping[str, Any]) -> Found | None:
        """Return the row that a unique key finds.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        ...

    async def all(
        self, statement: Executable, values: Mapping[str, Any] = MappingProxyType({})
    ) -> Sequence[Found]:
        """Return every row.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        ...

    async def page(
        self,
        statement: Select[Any],
        filters: Mapping[str, ColumnElement[bool]],
        wanted: Mapping[str, Any],
        limit: int,
    ) -> Sequence[Found]:
        """Return the first `limit` rows that pass the filters named in `wanted`.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        ...

    async def at_one_moment(self, read: Callable[[Transaction], T]) -> T:
        """Return what `read` finds while nothing changes for it.

        Raises:
            BackendUnavailable: ``ledger.unavailable``.
        """
        ...

    async def close(self) -> None:
        """Finish the listing that runs, then close."""
        ...

"""A ledger that is only read: for processes that must not be able to change anything."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from est_server.errors import BackendUnavailable
from est_server.storage import statements as sql
from est_server.storage.ledger import SqlLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.storage.transaction import Reads, Transaction, Writer


class RefusingWriter:
    """A `Writer` that runs nothing."""

    async def run(self, work: Callable[[Transaction], object]) -> NoReturn:  # noqa: ARG002 - the port's signature
        """Refuse.

        Raises:
            BackendUnavailable: ``ledger.read-only``.
        """
        hint = "another process, with role est or publisher, does this"
        raise BackendUnavailable("ledger.read-only", "this process only reads", hint=hint)

    async def close(self) -> None:
        """Nothing is open."""


class ReadOnlyLedger(SqlLedger):
    """A `Ledger` whose changes all fail."""

    def __init__(self, reads: Reads) -> None:
        super().__init__(reads, RefusingWriter(), "")

    async def ping(self) -> None:
        await self._reads.one(sql.PROFILE_TEXT, {"digest_": ""})


_: type[Writer] = RefusingWriter

"""Where lists are put for relying parties, beside this server's own listener."""

from __future__ import annotations

from typing import Protocol


class Publisher(Protocol):
    """A place that others serve from: a directory, a bucket.

    Durability: when `put` returns, the whole list is there and survives the loss of power; until
    then the one before stays as it was. Concurrency: several processes may put lists; the highest
    number stays.
    """

    async def put(self, name: str, number: int, der: bytes) -> None:
        """Replace the list called `name`, unless one with this number or a higher one is there.

        Args:
            name: of the file, as `est_server.ports.crl.crl_file` says it.
            number: the CRL number.
            der: the list.

        Raises:
            BackendUnavailable: ``publisher.unavailable``; trying again may help.
        """
        ...

    async def number(self, name: str) -> int:
        """Return the number of the list called `name`; 0 if none is there.

        Raises:
            BackendUnavailable: ``publisher.unavailable``: nobody can tell.
        """
        ...

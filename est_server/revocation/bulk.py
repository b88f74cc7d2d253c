"""Many certificates at once, in batches that each are one transaction.

A run that was cut off is simply started again: what is done already is not selected any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from est_server.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from est_server.ports.ledger import CertificateRecord
    from est_server.ports.revocation import RevocationEvent, Revocations, Selection

Order = TypeVar("Order")

BATCH = 500
"""Certificates in a transaction: enough to share a commit, few enough to let others write."""


async def in_batches(
    revocations: Revocations,
    selection: Selection,
    order: Callable[[CertificateRecord], Order],
    give: Callable[[Sequence[Order]], Awaitable[Sequence[RevocationEvent]]],
) -> AsyncIterator[int]:
    """Yield, batch after batch, how many of the selected certificates were changed.

    Args:
        revocations: where they are found.
        selection: which.
        order: makes the order for one of them.
        give: `Revocations.revoke` or `Revocations.release`.

    Raises:
        Malformed: an order can't be carried out on one of them; the batches before are done.
    """
    after = None
    while page := await revocations.selected(selection, limit=BATCH, after=after):
        after = (page[-1].issued_at, page[-1].serial_number)
        orders = [order(found) for found in page]
        try:
            done = len(await give(orders))
        except Conflict:  # somebody else was at one of them meanwhile
            done = 0
            for one in orders:
                try:
                    done += len(await give([one]))
                except Conflict:
                    continue
        yield done

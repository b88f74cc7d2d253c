"""How far the ledger's revocations have been carried to the CAs that made the certificates.

The events of `est_server.ports.revocation` are the outbox: each CA that can revoke has a cursor in
them, which moves only when everything before it was carried out or refused for good.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class UpstreamRefusal:
    """A revocation that a CA will not carry out; somebody has to do it there.

    Attributes:
        ca: name of the CA in server.yaml.
        serial_number: the certificate's.
        sequence: of the event.
        reason: what the CA said.
        at: when.
    """

    ca: str
    serial_number: int
    sequence: int
    reason: str
    at: datetime


class UpstreamRevocations(Protocol):
    """The cursors, a part of the ledger."""

    async def position(self, ca: str) -> int:
        """Return the last event that is done with for a CA; 0 before the first."""
        ...

    async def advance(
        self, ca: str, *, seen: int, to: int, refusal: UpstreamRefusal | None = None
    ) -> bool:
        """Move a CA's cursor, and keep a refusal, in one transaction.

        Returns:
            False if another process has moved it from `seen` already; nothing is written.
        """
        ...

    async def refusals(self, *, limit: int = 100) -> Sequence[UpstreamRefusal]:
        """Return the refusals that nobody has put right, newest first.

        One is put right when the CA carries a later event of the certificate out, or by
        `forget_refusal`.
        """
        ...

    async def forget_refusal(self, ca: str, serial_number: int) -> None:
        """Forget a refusal: the certificate is revoked there by now."""
        ...

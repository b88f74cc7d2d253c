"""What CAs elsewhere were asked for, until the answer is known.

A CA that could have issued although its answer never came is asked with an order that is durable:
the same order is sent again after a crash, after a lost reply, and each time a device comes back to
ask about a request that its CA has not decided yet. `TRANSITIONS` is the whole life of such a
request; a request of a CA whose key is ours is only ever ``reserved`` and then settled.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`). Every method
that changes a state raises `Conflict("request.state", …)` where the table does not allow it, which
is how one of several processes that work on the same request wins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord, RequestRecord, RequestState

OrderEvent = Literal["prepare", "wait", "ask", "park", "record", "reject"]

TRANSITIONS: Mapping[OrderEvent, tuple[frozenset[RequestState], RequestState]] = MappingProxyType(
    {
        # the CA has a name for it, and was not asked to carry it out yet
        "prepare": (frozenset({"reserved"}), "reserved"),
        # the CA took the order and has not decided (`Pending`)
        "wait": (frozenset({"reserved", "parked"}), "waiting"),
        # the device came back: one process asks the CA again
        "ask": (frozenset({"waiting"}), "reserved"),
        # nobody can tell what the CA did, or what it did was refused
        "park": (frozenset({"reserved", "parked"}), "parked"),
        # its certificate came, was looked up, or was brought by a person
        "record": (frozenset({"reserved", "waiting", "parked"}), "issued"),
        # the CA made nothing and will not: its word, or a person's
        "reject": (frozenset({"reserved", "waiting", "parked"}), "rejected"),
    }
)
"""Event -> the states it may happen in and the state it leads to; nothing else ever happens."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a device that comes back is known (RFC 7030 4.2.3).

    Attributes:
        match_key: digest of identity, label, operation and key.
        content: digest of the requested names and extensions.
    """

    match_key: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class Ordered:
    """What is kept of an order beside its request, in the transaction of its reservation.

    Attributes:
        csr: `IssuanceOrder.csr`.
        names: the plan's names and key (`est_server.pki.plan_names`), which its JSON does not hold
            in full.
        question: of the device that asked; None where nobody comes back.
    """

    csr: bytes = field(repr=False)
    names: bytes
    question: Question | None = None


@dataclass(frozen=True, slots=True)
class OpenOrder:
    """An order as it stands.

    Attributes:
        request: its request.
        ordered: what is kept of the order.
        replaces: serial number of the certificate that is renewed.
        attempts: how often somebody tried to learn its outcome.
        next_at: ``waiting``: the CA is not asked before; ``parked``: when the next attempt to learn
            the outcome is due, None if only a person can tell.
        reason: why it waits or is parked.
        ticket: what its CA calls it (`IssuanceOrder.ticket`).
    """

    request: RequestRecord
    ordered: Ordered
    replaces: int | None
    attempts: int
    next_at: datetime | None
    reason: str
    ticket: str | None = None


class Orders(Protocol):
    """The orders of CAs elsewhere, a part of the ledger; reservations write them."""

    async def get(self, request_id: str) -> OpenOrder | None:
        """Return one order, settled or not."""
        ...

    async def asked(self, match_key: bytes) -> OpenOrder | None:
        """Return the newest order of a question, settled or not."""
        ...

    async def certificate(self, request_id: str) -> CertificateRecord | None:
        """Return the certificate of a request."""
        ...

    async def due(
        self, at: datetime, *, abandoned: datetime, limit: int = 100
    ) -> Sequence[OpenOrder]:
        """Return orders somebody has to ask about, the longest overdue first.

        Args:
            at: parked ones whose next attempt was due by then.
            abandoned: waiting ones whose device could have come back by then, and has not.
            limit: page size.
        """
        ...

    async def counts(self) -> Mapping[tuple[str, str], int]:
        """Return how many open requests each CA has: ``waiting``, ``unknown`` or ``refused``.

        ``refused``: its answer was not what was ordered, until a person has looked at it.
        """
        ...

    async def prepare(self, request_id: str, *, ticket: str, at: datetime) -> None:
        """Keep what the CA calls the order, before it is carried out; a rejected one loses it.

        Raises:
            Conflict: ``order.ticket``: another request has it, since the CA made no new order.
        """
        ...

    async def wait(self, request_id: str, *, until: datetime, reason: str, at: datetime) -> None:
        """Move a request to ``waiting``; its CA is not asked again before `until`."""
        ...

    async def ask(self, request_id: str, *, at: datetime) -> None:
        """Move a waiting request to ``reserved``, as this process's."""
        ...

    async def park(
        self, request_id: str, *, reason: str, next_at: datetime | None, at: datetime
    ) -> None:
        """Move a request to ``parked``, or plan the next attempt for one that is."""
        ...

    async def take(self, order: OpenOrder, *, until: datetime) -> bool:
        """Claim the attempt that is due: True for one process; the next is due at `until`."""
        ...

    async def record(
        self, request_id: str, certificate: CertificateRecord, *, reason: str | None = None
    ) -> None:
        """Move a request to ``issued`` and write its certificate.

        Args:
            request_id: which.
            certificate: what it gets.
            reason: who brought it, if a person did.

        Raises:
            Conflict: ``serial.duplicate``.
        """
        ...

    async def reject(self, request_id: str, *, reason: str, at: datetime) -> None:
        """End a request without a certificate; its key, its use and its approval are free."""
        ...

    async def keep(
        self, certificate: CertificateRecord, *, reason: str, actor: str, at: datetime
    ) -> bool:
        """Write a certificate that a CA made and nobody may have, revoked; all in one transaction.

        Its request is parked if it is open. If the request has another certificate already, the row
        belongs to a copy of the request, in state ``rejected``.

        Args:
            certificate: in status ``presumed``.
            reason: why it was refused: the note of its revocation.
            actor: who refused it.
            at: now.

        Returns:
            False if the CA has this serial number in the ledger already: nothing is written but the
            request's state.
        """
        ...

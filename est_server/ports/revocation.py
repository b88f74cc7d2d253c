"""What takes a certificate out of use, durably, and what tells everybody else about it.

A revocation changes a certificate's status and writes an event, in one transaction. Events are the
outbox: lists, OCSP answers and feeds are made from them, each by remembering the last sequence
number that it has seen. They are the record of who did it and why, too, and never change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from est_server.ports.ledger import CertificateRecord

RevocationReason = Literal[
    "unspecified",
    "keyCompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    "privilegeWithdrawn",
]
"""CRLReason (RFC 5280 5.3.1) as far as it fits a device: cACompromise and aACompromise are about
authorities, removeFromCRL only stands in delta CRLs."""

RevocationAction = Literal["revoked", "held", "released"]


@dataclass(frozen=True, slots=True)
class Revocation:
    """An order to revoke one certificate, or to put it on hold.

    Attributes:
        ca: name of the CA in server.yaml.
        serial_number: the certificate's.
        reason: certificateHold can be taken back, everything else is for good.
        at: now; becomes the revocationDate unless the certificate has an earlier one.
        actor: who gives the order.
        invalidity_date: since when the key is known or suspected to be bad (RFC 5280 5.3.2); not
            after the revocationDate.
        note: the operator's own words.
    """

    ca: str
    serial_number: int
    reason: RevocationReason
    at: datetime
    actor: str
    invalidity_date: datetime | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """An order to take a certificate off hold."""

    ca: str
    serial_number: int
    at: datetime
    actor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class RevocationEvent:
    """One change of a certificate's status, as everybody who follows learns it.

    Attributes:
        sequence: strictly increasing over all CAs in the order in which events became durable:
            whoever has seen one has seen, or can read, all below it.
        ca: name of the CA in server.yaml.
        serial_number: the certificate's.
        action: what happened.
        reason: after the event; None when released.
        revoked_at: the revocationDate after the event, None when released. It never moves later.
        invalidity_date: after the event.
        at: when it happened.
        actor: who ordered it.
        note: the operator's own words.
    """

    sequence: int
    ca: str
    serial_number: int
    action: RevocationAction
    reason: RevocationReason | None
    revoked_at: datetime | None
    invalidity_date: datetime | None
    at: datetime
    actor: str
    note: str


@dataclass(frozen=True, slots=True)
class Selection:
    """Certificates that an order can change, and that match everything that is given.

    Attributes:
        may: ``revoke`` selects what is not revoked, ``hold`` what is neither revoked nor held,
            ``release`` what is held.
        device_id: of this device.
        profile: of this profile.
        issued_from: issued then or later.
        issued_before: issued before then.
    """

    may: Literal["revoke", "hold", "release"]
    device_id: str | None = None
    profile: str | None = None
    issued_from: datetime | None = None
    issued_before: datetime | None = None


class Revocations(Protocol):
    """The part of the ledger that revokes; durability and failures are those of `Ledger`."""

    async def revoke(self, orders: Sequence[Revocation]) -> Sequence[RevocationEvent]:
        """Revoke or hold certificates, all or none, in one transaction with their events.

        A certificate may be expired or ``presumed``. One that is held may be revoked; one that is
        revoked may be revoked again for keyCompromise, once. A key revoked for keyCompromise is
        blocked (`key_blocked`) from then on.

        Returns:
            The events in the order of `orders`.

        Raises:
            NotFound: ``certificate.unknown``, naming the first that is not there.
            Conflict: ``revocation.revoked``, ``revocation.held``: nothing would change, or it may
                not change like this.
            Malformed: ``revocation.invalidity-date``: it is after the revocationDate.
        """
        ...

    async def release(self, orders: Sequence[Release]) -> Sequence[RevocationEvent]:
        """Take certificates off hold, all or none, in one transaction with their events.

        Raises:
            NotFound: ``certificate.unknown``.
            Conflict: ``revocation.not-held``.
        """
        ...

    async def events(
        self, *, after: int = 0, serial_number: int | None = None, limit: int = 1000
    ) -> Sequence[RevocationEvent]:
        """Return events by sequence number, at most `limit`, starting behind `after`.

        Args:
            after: the last one that was seen; 0 for the beginning.
            serial_number: only of certificates with this number, of any CA.
            limit: page size.
        """
        ...

    async def last_event(self) -> RevocationEvent | None:
        """Return the newest event; cheap enough to be asked several times a second."""
        ...

    async def key_blocked(self, spki_sha256: bytes) -> bool:
        """Tell whether a certificate with this key was revoked for keyCompromise."""
        ...

    async def count_selected(self, selection: Selection) -> int:
        """Return how many certificates match; walks an index, for people who wait."""
        ...

    async def selected(
        self,
        selection: Selection,
        *,
        limit: int = 100,
        after: tuple[datetime, int] | None = None,
    ) -> Sequence[CertificateRecord]:
        """Return certificates that match, newest first, at most `limit`.

        Args:
            selection: what is wanted.
            limit: page size.
            after: (issued_at, serial_number) of the previous page's last row.
        """
        ...

"""Where the numbers, the contents and the bytes of revocation lists are kept.

A scope is one CA's complete list (shard 0) or one of its partial lists (shard 1 and up). It has one
sequence of numbers for complete and delta CRLs (RFC 5280 5.2.3). A CA's compact sets are a scope,
too, with numbers of their own. A number is reserved durably before anything is signed with it, and
is never used again, whether a list came of it or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from est_server.ports.leases import Fence

CrlKind = Literal["base", "delta", "compact"]
_BEGINNING = datetime(1, 1, 1, tzinfo=UTC)
COMPLETE = 0
"""The shard of the list that holds every revoked certificate of its CA."""
COMPACT = -1
"""What stands in a shard's place for compact sets, which are about every certificate, too."""
SERIAL_OCTETS = 20


def crl_file(ca: str, shard: int | str, kind: CrlKind) -> str:
    """Return the name of a list's file, which ends its URL: ``issuing-3-delta.crl``."""
    if kind == "compact":
        return f"{ca}.set"
    part = "" if shard == COMPLETE else f"-{shard}"
    return f"{ca}{part}{'-delta' if kind == 'delta' else ''}.crl"


@dataclass(frozen=True, slots=True)
class Extent:
    """Which certificates a complete list has: the revoked and held ones but for the expired.

    An expired one stays until a list has shown it once after its end (RFC 5280 5.1.2.6, 3.3).

    Attributes:
        sequence: the list says what every event up to this one made of the certificates.
        expired_before: certificates that ended before then are left out …
        listed_up_to: … where their last event is not after this one, which a list has shown.
    """

    sequence: int
    expired_before: datetime = _BEGINNING
    listed_up_to: int = 0

    def keeps(self, not_after: datetime, sequence: int) -> bool:
        """Tell whether a certificate that is revoked or held is in the list.

        Args:
            not_after: the certificate's end.
            sequence: its last event.
        """
        return not_after >= self.expired_before or sequence > self.listed_up_to


@dataclass(frozen=True, slots=True)
class Entry:
    """A certificate that has events, as it stands.

    Attributes:
        serial_number: the certificate's.
        not_after: its end.
        sequence: its last event.
        der: the entry of a CRL (`est_server.wire.crl.encode_entry`); None when it was released.
    """

    serial_number: int
    not_after: datetime
    sequence: int
    der: bytes | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The ledger at one moment.

    Attributes:
        sequence: the last event of all.
        complete: the entries of the complete list in pieces to be joined, by serial number; None
            if it was not asked for.
        changed: every certificate that may differ between the complete list and an earlier one,
            perhaps twice; empty if none was given.
    """

    sequence: int
    complete: Sequence[bytes] | None
    changed: Sequence[Entry]


@dataclass(frozen=True, slots=True)
class Universe:
    """Every certificate that a CA has issued and that has not ended, at one moment.

    Attributes:
        sequence: the last event of all.
        good: serial numbers of good certificates, and of those that are about to be issued, each
            in `SERIAL_OCTETS`.
        not_good: of those that are revoked, on hold, or may exist although nobody was given them.
        begins: the first notBefore among certificates that are recorded; None if there are none.
    """

    sequence: int
    good: bytes
    not_good: bytes
    begins: datetime | None


@dataclass(frozen=True, slots=True)
class PublishedCrl:
    """A list that exists for the world.

    Attributes:
        ca: name of the CA in server.yaml.
        shard: of the CA.
        number: the CRL number.
        kind: complete, delta, or a compact set.
        base_number: BaseCRLNumber of a delta.
        this_update: from the list.
        next_update: from the list.
        extent: what the list says; for a delta, together with its base.
        size: octets.
        published_at: when it became durable.
    """

    ca: str
    shard: int
    number: int
    kind: CrlKind
    base_number: int | None
    this_update: datetime
    next_update: datetime
    extent: Extent
    size: int
    published_at: datetime


@dataclass(frozen=True, slots=True)
class CrlScope:
    """What is known of a scope.

    Attributes:
        ca: name of the CA in server.yaml.
        shard: of the CA.
        last_number: the last number that was reserved; 0 before the first.
        reserved_at: when.
        key_identifier: of the key that signs this scope. Another key is another scope (RFC 5280
            5.2.3), which has another name.
        only_at: the URL that the certificates of a partial list name; None for the complete one.
        published: the lists that are in force, or that a delta refers to, oldest first: every
            complete one that has not ended, and the newest of each kind.
    """

    ca: str
    shard: int
    last_number: int
    reserved_at: datetime | None
    key_identifier: bytes
    only_at: str | None = None
    published: tuple[PublishedCrl, ...] = ()

    def newest(self, kind: CrlKind) -> PublishedCrl | None:
        """Return the newest list of a kind."""
        found = [crl for crl in self.published if crl.kind == kind]
        return found[-1] if found else None


class Crls(Protocol):
    """The part of the ledger behind CRLs; durability and failures are those of `Ledger`."""

    async def add_scope(
        self, ca: str, shard: int, key_identifier: bytes, only_at: str | None = None
    ) -> None:
        """Create a scope, before any certificate names its list; a known one is left alone.

        Raises:
            Conflict: ``crl.key``: the scope belongs to another key; ``crl.url``: certificates
                name its list at another URL, which the list has to repeat (RFC 5280 6.3.3 b 2 i).
        """
        ...

    async def scopes(self) -> Sequence[CrlScope]:
        """Return every scope by CA and shard; cheap enough to be asked several times a second."""
        ...

    async def reserve_number(
        self,
        ca: str,
        shard: int,
        *,
        after: int,
        at_least: int = 0,
        at: datetime,
        fence: Fence | None = None,
    ) -> int:
        """Return the next number of a scope, which nobody else gets.

        Args:
            ca: of the scope.
            shard: of the scope.
            after: the last number that the caller knows of.
            at_least: a number below which nothing may be published: of a list that was found
                outside, newer than this ledger.
            at: now.
            fence: the lease under which this is done; None for an operator's order.

        Raises:
            Conflict: ``crl.number``: somebody else has reserved one since; ``lease.lost``.
        """
        ...

    async def changed(self, ca: str, shard: int, *, after: int) -> bool:
        """Tell whether a certificate of the scope has an event behind `after`."""
        ...

    async def snapshot(
        self, ca: str, shard: int, *, now: Extent, since: Extent | None, complete: bool
    ) -> Snapshot:
        """Return what lists are made of, all as of one moment.

        Args:
            ca: of the scope.
            shard: of the scope.
            now: what the list leaves out; its `sequence` is found, not given.
            since: an earlier list, whose differences are wanted.
            complete: whether the complete list is wanted.
        """
        ...

    async def universe(self, ca: str, *, ends_from: datetime) -> Universe:
        """Return what a compact set is made of, as of one moment; walks all certificates.

        Args:
            ca: name of the CA in server.yaml.
            ends_from: certificates that ended before are left out.
        """
        ...

    async def publish(
        self, lists: Sequence[tuple[PublishedCrl, bytes]], *, fence: Fence | None = None
    ) -> None:
        """Keep lists of one scope, and one number, with their DER; all or none.

        Args:
            lists: of one scope and one number.
            fence: as in `reserve_number`.

        Raises:
            Conflict: ``crl.superseded``: a list with this number or a higher one is published;
                ``lease.lost``.
        """
        ...

    async def crl_der(self, ca: str, shard: int, kind: CrlKind) -> tuple[int, bytes] | None:
        """Return number and DER of the newest list of a kind."""
        ...

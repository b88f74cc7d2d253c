"""A CA's way from an old root to a new one (RFC 4210 4.4, RFC 7030 4.1.3).

A backend that can make a hierarchy to follow its own implements `SuccessorMaker` beside `Backend`;
one that does not can't roll over here. How far a rollover has come is in the ledger (`Rollovers`):
every server reads it and acts on it, and a command changes it in one transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

    from est_server.ports.ca import BackendContext
    from est_server.ports.secret import Secret

RolloverState = Literal["prepared", "published", "switched", "retired", "aborted"]


@dataclass(frozen=True, slots=True)
class SuccessorOrder:
    """What is wanted of a new hierarchy.

    Attributes:
        folder: an empty folder, for its owner alone, that takes what the backend keeps in files.
        settled: where `folder` will be when everything is in it, relative to server.yaml's folder.
        issuing_suffix: makes the new issuing CA's name another than the old one's.
        root_key: the old root's key, ``file:…`` or in the backend's own form; None for where the
            backend expects it.
        root_passphrase: of that key; None for that of the issuing CA's.
        algorithm: of both new keys.
        root_lifetime: must end after the old root.
        issuing_lifetime: cut at the new root's end.
        now: the time.
        dry_run: nothing that is made may be left, neither in `folder`, which is thrown away, nor
            anywhere else.
    """

    folder: Path
    settled: str
    issuing_suffix: str
    root_key: str | None
    root_passphrase: Secret | None
    algorithm: str
    root_lifetime: timedelta
    issuing_lifetime: timedelta
    now: datetime
    dry_run: bool


@dataclass(frozen=True, slots=True)
class Successor:
    """A new hierarchy, its keys encrypted where the backend keeps them.

    Attributes:
        settings: the keys of a CA in server.yaml that open it, without ``backend``.
        new_root: NewWithNew, self-signed.
        old_with_new: the old root's key certified by the new root.
        new_with_old: the new root's key certified by the old root.
    """

    settings: Mapping[str, Any]
    new_root: x509.Certificate
    old_with_new: x509.Certificate
    new_with_old: x509.Certificate


@runtime_checkable
class SuccessorMaker(Protocol):
    """A backend that can make the hierarchy that follows one of its own."""

    def make_successor(
        self, settings: Any, context: BackendContext, order: SuccessorOrder
    ) -> Successor:
        """Make new root and issuing keys and all certificates between old and new.

        Raises:
            BackendUnavailable: a key can't be read; the hint says which.
            BackendRejected: ``rollover.hierarchy``, ``rollover.lifetime``: it makes no sense.
        """
        ...


@dataclass(frozen=True, slots=True)
class TlsReplacement:
    """The server's TLS certificate by the new issuing CA.

    Attributes:
        replaces: SHA-256 of the certificate in whose place it is presented; once the operator
            puts another one into server.yaml's file, that one is presented.
        chain: DER, the server's own certificate first, then its issuing CA.
    """

    replaces: bytes
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Rollover:
    """One rollover.

    Attributes:
        ca: name of the CA in server.yaml.
        generation: 2 for a CA's first rollover, then 3 and so on.
        predecessor: name of the CA that issues before the switch: `ca`, or an earlier successor.
        successor: name of the CA that issues from the switch on.
        settings: `Successor.settings`.
        new_root: DER, as are the two below.
        prepared_at: and so on: when it came to this state; None while it has not.
        tls: None where the server's TLS certificate is not ours to make.
        anonymous_fetches: how often somebody without a certificate fetched /cacerts since it was
            published.
    """

    ca: str
    generation: int
    state: RolloverState
    predecessor: str
    successor: str
    settings: Mapping[str, Any]
    new_root: bytes
    old_with_new: bytes
    new_with_old: bytes
    prepared_at: datetime
    published_at: datetime | None = None
    switched_at: datetime | None = None
    ended_at: datetime | None = None
    tls: TlsReplacement | None = None
    anonymous_fetches: int = 0


@dataclass(frozen=True, slots=True)
class Follower:
    """A holder of valid certificates, seen from a rollover.

    Attributes:
        identity: a device, or whoever enrolled.
        not_after: the end of its last certificate.
        fetched_at: when it first fetched /cacerts since publication; None while it has not.
        renewed: whether it has a certificate of the new CA.
    """

    identity: str
    not_after: datetime
    fetched_at: datetime | None
    renewed: bool


@dataclass(frozen=True, slots=True)
class FollowerCounts:
    """How many holders of valid certificates there are, and how many have followed.

    Attributes:
        holders: of certificates of the old or the new CA.
        fetched: fetched /cacerts since publication.
        renewed: did not, but have a certificate of the new CA.
        behind: neither: they would be cut off.
    """

    holders: int
    fetched: int
    renewed: int
    behind: int


class Rollovers(Protocol):
    """The rollovers, a part of the ledger; durability and failures are those of `Ledger`."""

    async def all(self) -> Sequence[Rollover]:
        """Return every rollover by CA and generation; cheap enough for every second."""
        ...

    async def add(self, rollover: Rollover) -> None:
        """Write a rollover in state ``prepared``.

        Raises:
            Conflict: ``rollover.open`` if one of this CA is neither retired nor aborted, or has
                the same generation.
        """
        ...

    async def move(
        self,
        rollover: Rollover,
        to: RolloverState,
        *,
        at: datetime,
        tls: TlsReplacement | None = None,
    ) -> None:
        """Change the state of a rollover that is as it was read, and its times and TLS with it.

        Args:
            rollover: as read.
            to: its next state.
            at: now.
            tls: for ``switched``.

        Raises:
            Conflict: ``rollover.state`` if it changed meanwhile.
        """
        ...

    async def note_fetches(
        self, successor: str, identities: Sequence[str], *, anonymous: int, at: datetime
    ) -> None:
        """Note who fetched /cacerts; a holder's first time counts."""
        ...

    async def counts(self, rollover: Rollover, at: datetime) -> FollowerCounts:
        """Return how many holders of certificates that are valid at `at` have followed."""
        ...

    async def behind(
        self, rollover: Rollover, at: datetime, *, limit: int = 100
    ) -> Sequence[Follower]:
        """Return holders that have not followed, by identity, at most `limit`."""
        ...

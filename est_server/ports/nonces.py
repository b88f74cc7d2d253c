"""Nonces that evidence answers (draft-ietf-lamps-attestation-freshness).

Kept as hashes: who reads the ledger learns no nonce, and so no secret that one may be. A nonce
counts on the TLS session or with the cookie that it was asked for with, under the same label, until
it expires, for one request.

Durability, atomicity and concurrency are the ledger's (`est_server.ports.ledger`): of several
processes that take one nonce, one gets it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

MOST_KEPT_OCTETS = 4096


@dataclass(frozen=True, slots=True)
class Nonce:
    """A nonce that was given out.

    Attributes:
        digest: SHA-256 of its octets.
        label: the URL's label; empty without one.
        session: SHA-256 of the TLS session's channel binding; empty where there is none.
        cookie: SHA-256 of the cookie that went with it.
        client: whose it is as far as the caps go: the address that asked.
        kept: JSON that a verifier wants back, at most `MOST_KEPT_OCTETS`.
    """

    digest: bytes
    label: str
    session: bytes
    cookie: bytes
    client: str
    created_at: datetime
    expires_at: datetime
    kept: str = "{}"


@dataclass(frozen=True, slots=True)
class Presented:
    """What a request shows beside a nonce; each value as in `Nonce`, empty where there is none.

    Attributes:
        use: digest of who asks for what: the same request may show the same nonce again.
    """

    label: str
    session: bytes
    cookie: bytes
    use: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TakenNonce:
    """A nonce that is spent now.

    Attributes:
        kept: what its verifier wanted back.
        again: the same request had taken it before: it may get the answer that it got, and no
            other one.
    """

    kept: str
    again: bool


class Nonces(Protocol):
    """The nonces that were given out, a part of the ledger."""

    async def add(self, nonce: Nonce, *, most_per_client: int, most: int) -> None:
        """Write a nonce; those that expired an hour ago are removed.

        Raises:
            Conflict: ``nonce.too-many`` if the client, or everybody together, has as many that
                are neither used nor expired.
        """
        ...

    async def get(self, digest: bytes) -> Nonce | None:
        """Return a nonce that was given out, used or not, until it is removed."""
        ...

    async def take(self, digest: bytes, presented: Presented, *, at: datetime) -> TakenNonce:
        """Spend a nonce, durably, before the evidence that holds it is looked at.

        A nonce that is refused stays as it was.

        Raises:
            Conflict: ``nonce.unknown``, ``nonce.label``, ``nonce.binding`` (another TLS session
                and no cookie), ``nonce.expired``, ``nonce.used``.
        """
        ...

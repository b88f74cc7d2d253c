"""What processes without a CA's key need to answer for it: its certificates, and a responder.

Whoever publishes writes it; whoever only validates reads it, with a ledger that it can't write to.
The responder's key is the one thing here that is secret: it is encrypted for those two, makes
nothing but OCSP answers, and ends with its certificate in days.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ShownCa:
    """The certificates of a CA, as DER.

    Attributes:
        issuer: whose key signs.
        chain: above it, its own issuer first.
    """

    issuer: bytes
    chain: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class SharedResponder:
    """An OCSP responder that several processes are (RFC 6960 4.2.2.2).

    Attributes:
        certificate: DER.
        key: PKCS #8, encrypted, DER.
    """

    certificate: bytes
    key: bytes = field(repr=False)


class Validation(Protocol):
    """The part of the ledger for validation; durability and failures are those of `Ledger`."""

    async def ca(self, name: str) -> ShownCa | None:
        """Return the certificates of a CA."""
        ...

    async def show_ca(self, name: str, shown: ShownCa) -> None:
        """Write or replace them."""
        ...

    async def responder(self, ca: str) -> SharedResponder | None:
        """Return the newest responder of a CA."""
        ...

    async def share_responder(self, ca: str, responder: SharedResponder) -> None:
        """Write or replace it."""
        ...

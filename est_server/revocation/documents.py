"""Lists as they are handed out over HTTP."""

from __future__ import annotations

import asyncio
import gzip
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from est_server.ports.crl import PublishedCrl

_LARGE = 1 << 18
"""Octets beyond which hashing and compressing would hold up the event loop."""
_SMALL = 1024
_WORTH = 0.9
_LEVEL = 1
"""Random serial numbers don't get smaller by trying harder."""


@dataclass(frozen=True, slots=True)
class Document:
    """A list, ready to be sent.

    Attributes:
        crl: what it is.
        der: its octets.
        compressed: gzip of them, where that is worth it.
        etag: of the octets (RFC 9110 8.8.3).
    """

    crl: PublishedCrl
    der: bytes = field(repr=False)
    compressed: bytes | None = field(repr=False)
    etag: str


async def document(crl: PublishedCrl, der: bytes) -> Document:
    """Return a list, ready to be sent; a large one is made so in a thread."""
    if len(der) < _LARGE:
        return _document(crl, der)
    return await asyncio.to_thread(_document, crl, der)


def _document(crl: PublishedCrl, der: bytes) -> Document:
    compressed = None
    if len(der) >= _SMALL:
        found = gzip.compress(der, _LEVEL, mtime=0)
        compressed = found if len(found) < _WORTH * len(der) else None
    return Document(crl, der, compressed, sha256(der).hexdigest()[:32])

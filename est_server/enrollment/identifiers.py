"""Identifiers for requests and decisions: sortable by time, readable over the phone."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford: without i, l, o and u
_TIME_BITS = 48
_RANDOM_BITS = 82


def new_identifier(kind: Literal["r", "d", "c", "x", "a"], now: datetime) -> str:
    """Return a kind and 26 characters, ``r_…``: milliseconds since 1970, then randomness.

    Args:
        kind: r for a request, d for a decision, c for a credential, x for an HTTP exchange,
            a for an appraisal.
        now: the time, aware.
    """
    milliseconds = int(now.timestamp() * 1000) & ((1 << _TIME_BITS) - 1)
    value = (milliseconds << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    digits = [_ALPHABET[(value >> shift) & 31] for shift in range(125, -1, -5)]
    return f"{kind}_{''.join(digits)}"

"""How long the ledger remembers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, Field

from est_server.ports.scalars import Duration, Strict, duration_text

_SHORTEST = timedelta(days=1)


def _long_enough(value: timedelta) -> timedelta:
    if value < _SHORTEST:
        raise ValueError(f"at least {duration_text(_SHORTEST)} is expected")
    return value


_Span = Annotated[Duration, AfterValidator(_long_enough)]


class Retention(Strict):
    """What `db prune` may remove, and when."""

    certificates: _Span | None = Field(
        default=None,
        description="after their end: certificates with their requests, decisions, evidence and "
        "events; OCSP answers for as long, too (its archive cutoff); absent: for ever",
    )
    decisions: _Span | None = Field(
        default=None,
        description="what issued nothing: refusals, requests and reviews that came to nothing, "
        "credentials that are no use any more, superseded lists; absent: for ever",
    )

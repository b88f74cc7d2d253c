"""A CA as the maker of compact sets.

A set is due at the start, every `every`, and again when the clock went back behind it. A revocation
alone makes none due: deltas, OCSP and the feed are for those who can't wait.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from est_server.ports.crl import COMPACT, SERIAL_OCTETS, Extent
from est_server.revocation.compact_filter import SEED_OCTETS, with_filter
from est_server.revocation.planning import Plan, somebody_is_at_it
from est_server.wire.cms_by_ca import encode_signed, to_be_signed
from est_server.wire.compact_set import CONTENT_TYPE, CompactSet
from est_server.wire.ribbon import Filter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from est_server.ports.ca import SignsTbs
    from est_server.ports.crl import CrlKind, Crls, CrlScope

_RESERVED_FOR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class CompactTimes:
    """How often and for how long.

    Attributes:
        every: from one set to the next, shorter than `lifetime`.
        lifetime: from thisUpdate to nextUpdate.
        lag: certificates that begin less than this before a set, or later, are not covered by it.
    """

    every: timedelta
    lifetime: timedelta
    lag: timedelta


@dataclass(frozen=True, slots=True)
class CompactSetIssuer:
    """What one CA's compact sets are made with; a `ListMaker`.

    Attributes:
        ca: its name in server.yaml.
        signer: its key.
        key_identifier: as in the certificates that it issues.
        times: how often and for how long.
    """

    ca: str
    signer: SignsTbs
    key_identifier: bytes
    times: CompactTimes

    @property
    def kinds(self) -> Sequence[CrlKind]:
        """What is published in a scope."""
        return ("compact",)

    def all_shards(self) -> Iterator[int]:
        """Yield what stands in a shard's place."""
        yield COMPACT

    def makes(self, shard: int) -> bool:
        """Tell whether this is the scope of compact sets."""
        return shard == COMPACT

    def only_at(self, shard: int) -> None:  # noqa: ARG002 - as `ListMaker` has it
        """Return None: no certificate names a compact set."""
        return

    def plan(
        self,
        scope: CrlScope,
        now: datetime,
        *,
        changed: bool,  # noqa: ARG002 - as `ListMaker` has it
        forced: bool = False,
    ) -> Plan | None:
        """Return what is due, or None; a revocation alone makes no set due."""
        if somebody_is_at_it(scope, now, _RESERVED_FOR):
            return None
        this_update, newest = now.replace(microsecond=0), scope.newest("compact")
        if newest is not None:
            # who asks by If-Modified-Since knows seconds only
            if this_update == newest.this_update:
                return None
            fresh = newest.this_update <= now < newest.this_update + self.times.every
            if fresh and not forced:
                return None
        return Plan(
            base=True, refers_to=None, this_update=this_update, leaves_out=Extent(0, this_update)
        )

    def rests_after(self, due: Plan) -> bool:  # noqa: ARG002 - as `ListMaker` has it
        """Return False: the time alone makes a set due."""
        return False

    def next_update(self, due: Plan, kind: CrlKind) -> datetime:  # noqa: ARG002 - as `ListMaker` has it
        """Return when a set of this plan ends."""
        return due.this_update + self.times.lifetime

    async def make(
        self, crls: Crls, scope: CrlScope, number: int, due: Plan
    ) -> tuple[int, dict[CrlKind, bytes]]:
        """Return the last event that the set shows, and the set; see `ListMaker`."""
        ends_from = due.this_update
        universe = await crls.universe(scope.ca, ends_from=ends_from)
        begins_until = due.this_update - self.times.lag
        empty = CompactSet(
            key_identifier=self.key_identifier,
            number=number,
            this_update=due.this_update,
            next_update=due.this_update + self.times.lifetime,
            begins_from=universe.begins or due.this_update,
            begins_until=begins_until,
            ends_from=ends_from,
            certificates=(len(universe.good) + len(universe.not_good)) // SERIAL_OCTETS,
            not_good=len(universe.not_good) // SERIAL_OCTETS,
            filter=Filter(secrets.token_bytes(SEED_OCTETS), (), b""),
        )
        content = await with_filter(empty, universe.not_good + universe.good)
        algorithm, key = self.signer.signature_algorithm, self.key_identifier
        signature = await self.signer.sign_tbs(to_be_signed(content, CONTENT_TYPE, algorithm))
        der = encode_signed(content, CONTENT_TYPE, key, algorithm, signature)
        return universe.sequence, {"compact": der}

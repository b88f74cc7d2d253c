"""A CA as the maker of its own lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.ports.crl import COMPLETE, crl_file
from est_server.revocation.planning import delta_entries, expired_since, extent_of
from est_server.wire.crl import CrlContent, encode_crl, encode_tbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta

    from est_server.ports.ca import SignsTbs
    from est_server.ports.crl import CrlKind, CrlScope, PublishedCrl, Snapshot
    from est_server.revocation.planning import CrlTimes, Plan


@dataclass(frozen=True, slots=True)
class CrlIssuer:
    """What one CA's lists are made with.

    Attributes:
        ca: its name in server.yaml.
        signer: its key.
        subject: DER of its subject.
        key_identifier: as in the certificates that it issues.
        times: how often and for how long.
        shards: how many partial lists there are beside the complete one.
        url: where the lists are, ending with a slash; None if nobody serves them over HTTP.
    """

    ca: str
    signer: SignsTbs
    subject: bytes
    key_identifier: bytes
    times: CrlTimes
    shards: int
    url: str | None

    def all_shards(self) -> Iterator[int]:
        """Yield the complete list's shard and those of the partial ones."""
        yield from range(COMPLETE, self.shards + 1)

    def only_at(self, shard: int) -> str | None:
        """Return the URL that certificates of a partial list name; None for the complete one."""
        if shard == COMPLETE or self.url is None:
            return None
        return self.url + crl_file(self.ca, shard, "base")

    async def lists(
        self, scope: CrlScope, number: int, plan: Plan, snapshot: Snapshot
    ) -> dict[CrlKind, bytes]:
        """Return the DER of what is due, signed.

        Raises:
            BackendUnavailable: ``ca.signature``.
        """
        found: dict[CrlKind, bytes] = {}
        if plan.base:
            found["base"] = await self._signed(
                self._content(scope, number, plan), list(snapshot.complete or ())
            )
        if (base := plan.refers_to) is not None:
            extent = extent_of(plan, snapshot.sequence)
            entries = delta_entries(snapshot.changed, base.extent, extent, plan.this_update)
            content = self._content(scope, number, plan, base)
            found["delta"] = await self._signed(content, entries)
        return found

    def lifetime(self, kind: CrlKind) -> timedelta:
        """Return how long a list is good for."""
        delta = self.times.delta_lifetime
        return self.times.lifetime if kind == "base" or delta is None else delta

    def next_update(self, plan: Plan, kind: CrlKind) -> datetime:
        """Return when a list of this plan ends."""
        return plan.this_update + self.lifetime(kind)

    async def _signed(self, content: CrlContent, entries: list[bytes]) -> bytes:
        tbs = encode_tbs(content, entries)
        entries.clear()  # a large list need not be in memory three times
        signature = await self.signer.sign_tbs(tbs)
        return encode_crl(tbs, content.algorithm, signature)

    def _content(
        self, scope: CrlScope, number: int, plan: Plan, base: PublishedCrl | None = None
    ) -> CrlContent:
        url, deltas = self.url, self.times.delta_lifetime is not None
        freshest = () if url is None or base is not None or not deltas else (
            url + crl_file(self.ca, scope.shard, "delta"),
        )  # fmt: skip
        return CrlContent(
            algorithm=self.signer.signature_algorithm,
            issuer=self.subject,
            key_identifier=self.key_identifier,
            number=number,
            this_update=plan.this_update,
            next_update=self.next_update(plan, "base" if base is None else "delta"),
            base_number=None if base is None else base.number,
            only_at=scope.only_at,
            freshest=freshest,
            expired_since=expired_since(plan.leaves_out, self.times.keep_expired),
        )  # fmt: skip

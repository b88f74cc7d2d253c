"""A CA as the maker of its own lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from est_server.ports.crl import COMPACT, COMPLETE, crl_file
from est_server.revocation.planning import delta_entries, expired_since, extent_of, plan
from est_server.wire.crl import CrlContent, encode_crl, encode_tbs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from est_server.ports.ca import SignsTbs
    from est_server.ports.crl import CrlKind, Crls, CrlScope, PublishedCrl, Snapshot
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

    @property
    def kinds(self) -> Sequence[CrlKind]:
        """What is published in a scope."""
        return ("base", "delta")

    def makes(self, shard: int) -> bool:
        """Tell whether a shard is one of CRLs: lists that certificates name never end."""
        return shard != COMPACT

    def only_at(self, shard: int) -> str | None:
        """Return the URL that certificates of a partial list name; None for the complete one."""
        if shard == COMPLETE or self.url is None:
            return None
        return self.url + crl_file(self.ca, shard, "base")

    def plan(
        self, scope: CrlScope, now: datetime, *, changed: bool, forced: bool = False
    ) -> Plan | None:
        """Return what is due, or None."""
        return plan(scope, self.times, now, changed=changed, forced=forced)

    def rests_after(self, due: Plan) -> bool:
        """Tell whether revocations would make such lists due again and again."""
        return not due.base or self.times.complete_follows

    async def make(
        self, crls: Crls, scope: CrlScope, number: int, due: Plan
    ) -> tuple[int, dict[CrlKind, bytes]]:
        """Return the last event that the lists show, and the lists; see `ListMaker`."""
        base = due.refers_to
        snapshot = await crls.snapshot(
            scope.ca,
            scope.shard,
            now=due.leaves_out,
            since=None if base is None else base.extent,
            complete=due.base,
        )
        return snapshot.sequence, await self.lists(scope, number, due, snapshot)

    async def lists(
        self, scope: CrlScope, number: int, due: Plan, snapshot: Snapshot
    ) -> dict[CrlKind, bytes]:
        """Return the DER of what is due, signed.

        Raises:
            BackendUnavailable: ``ca.signature``.
        """
        found: dict[CrlKind, bytes] = {}
        if due.base:
            found["base"] = await self._signed(
                self._content(scope, number, due), list(snapshot.complete or ())
            )
        if (base := due.refers_to) is not None:
            extent = extent_of(due, snapshot.sequence)
            entries = delta_entries(snapshot.changed, base.extent, extent, due.this_update)
            content = self._content(scope, number, due, base)
            found["delta"] = await self._signed(content, entries)
        return found

    def lifetime(self, kind: CrlKind) -> timedelta:
        """Return how long a list is good for."""
        delta = self.times.delta_lifetime
        return self.times.lifetime if kind == "base" or delta is None else delta

    def next_update(self, due: Plan, kind: CrlKind) -> datetime:
        """Return when a list of this plan ends."""
        return due.this_update + self.lifetime(kind)

    async def _signed(self, content: CrlContent, entries: list[bytes]) -> bytes:
        tbs = encode_tbs(content, entries)
        entries.clear()  # a large list need not be in memory three times
        signature = await self.signer.sign_tbs(tbs)
        return encode_crl(tbs, content.algorithm, signature)

    def _content(
        self, scope: CrlScope, number: int, due: Plan, base: PublishedCrl | None = None
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
            this_update=due.this_update,
            next_update=self.next_update(due, "base" if base is None else "delta"),
            base_number=None if base is None else base.number,
            only_at=scope.only_at,
            freshest=freshest,
            expired_since=expired_since(due.leaves_out, self.times.keep_expired),
        )  # fmt: skip

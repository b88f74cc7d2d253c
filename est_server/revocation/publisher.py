"""Publishes what is due: number, content, signature, ledger, then the world.

    reserve    the number is durable before anything is signed with it
    snapshot   what the lists say, all as of one moment
    sign       by the CA's own key, checked before use
    publish    the bytes are durable; of two publishers one wins, the other's number is never used
    bring out  into memory for this server's listener, and to a directory for others

A crash between two steps costs a number at most: what is published is brought out at the next turn,
what is not is planned again.

Of several processes the holder of a lease publishes. The others bring out what it published, and
take the lease over when something was due for `OVERDUE` and nobody did it: a stopped holder costs a
second. What it does when it wakes up carries its old token and is refused.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Generic, TypeVar

import structlog

from est_server.errors import Conflict, EstServerError
from est_server.ports.crl import PublishedCrl, crl_file
from est_server.revocation.documents import Document, document
from est_server.revocation.list_maker import Exclusive, ListMaker
from est_server.revocation.planning import extent_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from est_server.ports.clock import Clock
    from est_server.ports.crl import CrlKind, CrlScope
    from est_server.ports.ledger import Ledger
    from est_server.ports.publisher import Publisher
    from est_server.revocation.planning import Plan

log = structlog.get_logger("crl")

_AGAIN_AFTER = 5.0  # seconds after a failure, which would come back at once
OVERDUE = 0.75
"""Seconds that whoever has no lease leaves to its holder, who looks four times a second."""
_REST = 2.0  # times as long as it took to make a list, so that bulk revocation does not take it all


Maker = TypeVar("Maker", bound=ListMaker)


@dataclass(frozen=True, slots=True)
class Publication:
    """A list that was just published here.

    Attributes:
        crl: the list.
        waited: seconds from the oldest revocation that it is the first to show; None if it shows
            nothing new.
    """

    crl: PublishedCrl
    waited: float | None


@dataclass(slots=True)
class CrlPublisher(Generic[Maker]):
    """Publishes the lists of this server's CAs.

    Attributes:
        issuers: by their CA's name.
        ledger: numbers, contents, bytes.
        outlets: further places, by the CA's name.
        clock: the time.
        documents: the newest lists by the name of their file.
        lease: None for an operator's order, which waits for nobody.
    """

    issuers: Mapping[str, Maker]
    ledger: Ledger
    outlets: Mapping[str, Publisher]
    clock: Clock
    documents: dict[str, Document] = field(default_factory=dict)
    lease: Exclusive | None = None
    _floors: dict[str, int] = field(default_factory=dict)
    _unchanged: dict[str, int] = field(default_factory=dict)
    _given_up: dict[str, int] = field(default_factory=dict)
    _rest_until: dict[str, float] = field(default_factory=dict)
    _outside: dict[str, int] = field(default_factory=dict)
    _due_since: dict[str, float] = field(default_factory=dict)

    async def start(self) -> None:
        """Create the scopes of the configuration, before a certificate can name their lists.

        Raises:
            Conflict: ``crl.key``, ``crl.url``: a CA has another key than its lists, or its partial
                ones have another place than its certificates say.
        """
        for issuer in self.issuers.values():
            for shard in issuer.all_shards():
                await self.ledger.crls.add_scope(
                    issuer.ca, shard, issuer.key_identifier, issuer.only_at(shard)
                )

    async def turn(self, forced: frozenset[str] = frozenset()) -> list[Publication]:
        """Publish what is due and bring out what is new; failures are logged and tried again.

        Args:
            forced: CAs whose complete lists are wanted in any case.

        Returns:
            What was published by this turn.

        Raises:
            BackendUnavailable: the ledger can't be read.
        """
        if self.lease is not None:
            await self.lease.fence()  # a sign of life, or a look for the holder's
        last = await self.ledger.revocations.last_event()
        sequence = 0 if last is None else last.sequence
        by_issuer: dict[str, list[CrlScope]] = {name: [] for name in self.issuers}
        for scope in await self.ledger.crls.scopes():
            if scope.ca in by_issuer and self.issuers[scope.ca].makes(scope.shard):
                by_issuer[scope.ca].append(scope)
        done = await asyncio.gather(
            *(
                self._scopes(self.issuers[name], scopes, sequence, forced=name in forced)
                for name, scopes in by_issuer.items()
            )
        )
        return [publication for publications in done for publication in publications]

    async def _scopes(
        self, issuer: ListMaker, scopes: Sequence[CrlScope], sequence: int, *, forced: bool
    ) -> list[Publication]:
        done: list[Publication] = []
        for scope in scopes:
            name = crl_file(scope.ca, scope.shard, issuer.kinds[0])
            if not self._rests(name):
                with self._failures(name, name):
                    done += await self._publish(issuer, scope, name, sequence, forced=forced)
            if not self._rests(outside := f"{name} outside"):
                with self._failures(name, outside):
                    await self._bring_out(issuer, scope)
        return done

    @contextmanager
    def _failures(self, name: str, work: str) -> Iterator[None]:
        """Log a failure and let this work rest; the old list stays where it is."""
        try:
            yield
        except Conflict as conflict:
            if conflict.rule == "lease.lost" and self.lease is not None:
                self.lease.lost()
            log.info("crl.conflict", list=name, rule=conflict.rule, message=conflict.message)
        except EstServerError as error:
            self._rest(work, _AGAIN_AFTER)
            log.error("crl.failed", list=name, rule=error.rule, message=error.message,  # noqa: TRY400 - the rule says it
                      hint=error.hint)  # fmt: skip

    async def _publish(
        self, issuer: ListMaker, scope: CrlScope, name: str, sequence: int, *, forced: bool
    ) -> list[Publication]:
        now = self.clock()
        if scope.last_number == self._given_up.get(name):
            scope = replace(scope, reserved_at=None)
        shown = max((crl.extent.sequence for crl in scope.published), default=0)
        changed = await self._changed(scope, name, shown, sequence)
        due = issuer.plan(scope, now, changed=changed, forced=forced)
        if due is None:
            self._due_since.pop(name, None)
            return []
        begin = asyncio.get_running_loop().time()
        fence = None
        if self.lease is not None:
            fence = await self.lease.fence()
            if fence is None and begin >= self._due_since.setdefault(name, begin) + OVERDUE:
                fence = await self.lease.take_over()
            if fence is None:
                return []
        self._due_since.pop(name, None)
        number = await self.ledger.crls.reserve_number(
            scope.ca,
            scope.shard,
            after=scope.last_number,
            at_least=await self._floor(issuer, scope, name),
            at=now,
            fence=fence,
        )
        try:
            lists = await self._make(issuer, scope, number, due)
            await self.ledger.crls.publish(lists, fence=fence)
        except BaseException:
            self._given_up[name] = number
            raise
        waited = await self._waited(scope.ca, shown) if changed else None
        for crl, der in lists:
            self.documents[crl_file(crl.ca, crl.shard, crl.kind)] = await document(crl, der)
            log.info("crl.published", ca=crl.ca, shard=crl.shard, kind=crl.kind, number=crl.number,
                     octets=crl.size)  # fmt: skip
        took = asyncio.get_running_loop().time() - begin
        if issuer.rests_after(due):
            self._rest(name, _REST * took)
        return [Publication(crl, waited) for crl, _ in lists]

    async def _make(
        self, issuer: ListMaker, scope: CrlScope, number: int, due: Plan
    ) -> list[tuple[PublishedCrl, bytes]]:
        base = due.refers_to
        sequence, ders = await issuer.make(self.ledger.crls, scope, number, due)
        extent, at = extent_of(due, sequence), self.clock()

        def published(kind: CrlKind, der: bytes) -> PublishedCrl:
            return PublishedCrl(
                ca=scope.ca,
                shard=scope.shard,
                number=number,
                kind=kind,
                base_number=base.number if base is not None and kind == "delta" else None,
                this_update=due.this_update,
                next_update=issuer.next_update(due, kind),
                extent=extent,
                size=len(der),
                published_at=at,
            )

        return [(published(kind, der), der) for kind, der in ders.items()]

    async def _changed(self, scope: CrlScope, name: str, shown: int, sequence: int) -> bool:
        known = max(shown, self._unchanged.get(name, 0))
        if sequence <= known:
            return False
        if await self.ledger.crls.changed(scope.ca, scope.shard, after=known):
            return True
        self._unchanged[name] = sequence
        return False

    async def _waited(self, ca: str, shown: int) -> float | None:
        events = await self.ledger.revocations.events(after=shown, limit=100)
        first = next((event for event in events if event.ca == ca), None)
        return None if first is None else max(0.0, (self.clock() - first.at).total_seconds())

    async def _floor(self, issuer: ListMaker, scope: CrlScope, name: str) -> int:
        """Return the highest number outside: a ledger that was restored may know a lower one."""
        if name not in self._floors:
            outlet = self.outlets.get(issuer.ca)
            names = [crl_file(scope.ca, scope.shard, kind) for kind in issuer.kinds]
            found = [0] if outlet is None else [await outlet.number(one) for one in names]
            self._floors[name] = max(found)
        return self._floors[name]

    async def _bring_out(self, issuer: ListMaker, scope: CrlScope) -> None:
        for kind in issuer.kinds:
            newest, name = scope.newest(kind), crl_file(scope.ca, scope.shard, kind)
            held = self.documents.get(name)
            if newest is not None and (held is None or held.crl.number < newest.number):
                found = await self.ledger.crls.crl_der(scope.ca, scope.shard, kind)
                if found is not None and found[0] == newest.number:
                    held = self.documents[name] = await document(newest, found[1])
            outlet = self.outlets.get(issuer.ca)
            if outlet is None or held is None or self._outside.get(name) == held.crl.number:
                continue
            await outlet.put(name, held.crl.number, held.der)
            self._outside[name] = held.crl.number

    def _rest(self, work: str, seconds: float) -> None:
        self._rest_until[work] = asyncio.get_running_loop().time() + seconds

    def _rests(self, work: str) -> bool:
        return asyncio.get_running_loop().time() < self._rest_until.get(work, 0.0)

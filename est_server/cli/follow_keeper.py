"""Keeps one file of revocation lists as fresh as the server's, and tells a program so.

Two tasks: one reads events and notes which certificates the lists have to show; the other fetches,
checks, writes and runs the command, one after the other, whenever it is woken or a list has lived
half of its life.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from est_server.app.clock import system_clock
from est_server.cli.follow_wanted import SHOWN_WITHIN, Wanted
from est_server.errors import BackendUnavailable, Denied, EstServerError, Malformed
from est_server.ports.crl import COMPLETE, crl_file
from est_server.revocation import gateway
from est_server.storage.crl_directory import replace_durably

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cryptography import x509

    from est_server.cli.follow_command import Command
    from est_server.cli.follow_remote import EventStream, Remote
    from est_server.cli.follow_told import Told
    from est_server.ports.crl import CrlKind
    from est_server.revocation.gateway import Copy
    from est_server.wire.event_stream import StreamEvent

_PAUSE = 0.2  # seconds between two fetches while an event is not shown
_LONGEST_PAUSE = 300.0  # between two fetches, whatever happens
_SHORTEST_BACKOFF, _LONGEST_BACKOFF = 1.0, 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """One CA whose lists the file holds.

    Attributes:
        ca: name in the server's server.yaml, or of the file for people.
        issuer: the CA's certificate.
        path: a list that others keep, of an offline root; None for the server's.
    """

    ca: str
    issuer: x509.Certificate
    path: Path | None = None


@dataclass(slots=True)
class Keeper:
    """The file and what it is made of.

    Attributes:
        remote: the server.
        sources: the CAs, in the order of the file.
        target: the file.
        form: of the file.
        deltas: whether it holds delta CRLs too.
        command: run once the file has changed; None for nothing.
        told: people, or a program.
    """

    remote: Remote
    sources: tuple[Source, ...]
    target: Path
    form: Literal["pem", "der"]
    deltas: bool
    command: Command | None
    told: Told
    _copies: dict[tuple[str, CrlKind], Copy] = field(default_factory=dict)
    _lists: Mapping[str, Any] = field(default_factory=dict)
    _content: bytes = b""
    _wanted: dict[str, Wanted] = field(default_factory=dict)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: float = 0.0

    def __post_init__(self) -> None:
        self._wanted = {one.ca: Wanted() for one in self.sources if one.path is None}

    async def begin(self) -> None:
        """Take over the file as it is, and learn what the server's lists are like.

        Raises:
            BackendUnavailable: nobody answers.
            Denied: this server's lists are of no use for the file.
        """
        if self.target.exists():
            self._content = self.target.read_bytes()
        for der in gateway.lists_in(self._content):
            for source in self.sources:
                copy = gateway.still_held(der, source.issuer, system_clock())
                if copy is not None:
                    kind: CrlKind = "base" if copy.crl.base_number is None else "delta"
                    self._copies[source.ca, kind] = copy
        _, lists = await self.remote.recent(0, timedelta(0))
        self.require_usable(lists)

    async def begin_patiently(self) -> None:
        """Begin, once somebody answers.

        Raises:
            Denied: as in `begin`.
        """
        while True:
            try:
                return await self.begin()
            except BackendUnavailable as error:
                self.told.problem("feed", error)
            self._backoff = min(_LONGEST_BACKOFF, max(_SHORTEST_BACKOFF, 2 * self._backoff))
            await asyncio.sleep(self._backoff)

    def require_usable(self, lists: Mapping[str, Any]) -> None:
        """Return if the file can be kept with lists like these.

        Raises:
            Denied: ``follow.ca``, ``follow.deltas``.
        """
        for source in self.sources:
            if source.path is not None:
                continue
            like = lists.get(source.ca)
            if not isinstance(like, dict):
                known = ", ".join(sorted(map(str, lists))) or "none"
                text = f"the server publishes no lists of a CA called {source.ca}"
                raise Denied("follow.ca", text, hint=f"its CAs: {known}")
            if not self.deltas and like.get("complete") != "revocation":
                raise Denied(
                    "follow.deltas",
                    f"a revocation by {source.ca} is in its delta CRL at once, and in its complete "
                    "list hours later",
                    hint=f"set cas.{source.ca}.crl.complete to revocation on the server; or "
                    "--deltas, if the program that reads the file applies delta CRLs",
                )
        self._lists = lists

    async def once(self) -> None:
        """Fetch, write and run the command if anything changed.

        Raises:
            EstServerError: the first thing that failed; the file is as it was.
        """
        for source, kind in self._files():
            await self._fetch(source, kind)
        if self._write() and self.command is not None:
            await self.command.run()

    async def keep(self) -> None:
        """Do so until the task is cancelled, whatever fails in between."""
        while True:
            await self._turn()
            try:
                async with asyncio.timeout(self._pause()):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def listen(self) -> None:
        """Read events until the task is cancelled; each new connection starts with all lists."""
        position, backoff = "", _SHORTEST_BACKOFF
        while True:
            try:
                async with self.remote.stream(position) as stream:
                    await self._catch_up(stream, position)
                    position = stream.reader.last_id
                    self.told.well("feed")
                    self.told.connected = True
                    while True:
                        for event in await stream.next():
                            self._note(event)
                        position, backoff = stream.reader.last_id, _SHORTEST_BACKOFF
            except EstServerError as error:
                self.told.problem("feed", error)
                after = error.retry_after if isinstance(error, BackendUnavailable) else backoff
            self.told.connected = False
            self._wake.set()  # lists are looked at as often as the stream is tried
            backoff = min(_LONGEST_BACKOFF, 2 * backoff)
            # many gateways lose the same server at the same moment
            wait = min(_LONGEST_BACKOFF, max(backoff, after))
            await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads load, hides nothing

    async def _catch_up(self, stream: EventStream, position: str) -> None:
        """Note what happened lately, which lists may not show yet, and look at all of them."""
        if not position:
            while not stream.reader.last_id:
                for event in await stream.next():
                    self._note(event)
            begin = stream.reader.last_id
            within = timedelta(seconds=SHOWN_WITHIN)
            events, lists = await self.remote.recent(int(begin), within)
            for event in events:
                self._want(event)
            self.require_usable(lists)
        self._wake.set()

    def _note(self, event: StreamEvent) -> None:
        if event.event != "reset":
            try:
                self._want(json.loads(event.data))
            except (ValueError, TypeError, KeyError) as error:
                raise Malformed("follow.event", "an event can't be read") from error
        self._wake.set()

    def _want(self, event: Mapping[str, Any]) -> None:
        if (wanted := self._wanted.get(event["ca"])) is not None:
            wanted.add(event)

    def _files(self) -> Iterator[tuple[Source, CrlKind]]:
        for source in self.sources:
            yield source, "base"
            if self.deltas and source.path is None and self._lists[source.ca].get("delta"):
                yield source, "delta"

    async def _turn(self) -> None:
        failed = False
        for source, kind in self._files():
            name = f"{source.ca} {kind}"
            try:
                await self._fetch(source, kind)
            except (EstServerError, OSError) as error:
                failed = True
                self.told.problem(name, error)
            else:
                self.told.well(name)
        self._backoff = (
            min(_LONGEST_BACKOFF, max(_SHORTEST_BACKOFF, 2 * self._backoff)) if failed else 0.0
        )
        try:
            if self._write() and self.command is not None:
                self.command.wanted = True
            self.told.well("file")
        except OSError as error:
            self._backoff = max(self._backoff, _SHORTEST_BACKOFF)
            self.told.problem("file", error)
        if self.command is not None:
            await self.command.run_if_due()
        for ca, wanted in self._wanted.items():
            await self._compare(ca, wanted)
        self.told.status(self._copies, self._pause())

    async def _fetch(self, source: Source, kind: CrlKind) -> None:
        name, key = crl_file(source.ca, COMPLETE, kind), (source.ca, kind)
        held = self._copies.get(key)
        if source.path is not None:
            found: list[bytes | None] = [*gateway.lists_in(source.path.read_bytes())]
            if len(found) != 1:
                raise Malformed("follow.list", f"{source.path} does not hold one list")
            der = found[0]
        else:
            if held is None:
                self.remote.forget(name)
            der = await self.remote.fetch(name)
        if der is None:
            if held is not None and held.crl.next_update is not None:
                self._require_in_force(held)
            return
        try:
            copy = await asyncio.to_thread(gateway.accept, der, source.issuer, system_clock(), held)
            if kind == "delta" and (base := self._copies.get((source.ca, "base"))) is not None:
                gateway.require_fitting(copy, base)
        except EstServerError:
            self.remote.forget(name)
            raise
        if copy is not held:
            self._copies[key] = copy
            if (wanted := self._wanted.get(source.ca)) is not None:
                wanted.changed = True

    def _require_in_force(self, held: Copy) -> None:
        end = held.crl.next_update
        if end is not None and end <= system_clock():
            raise Denied("follow.ended", f"it ended at {end:%F %TZ}, and there is no newer one")

    def _write(self) -> bool:
        """Replace the file if it would be another, and tell whether it was."""
        lists = [self._copies.get((source.ca, kind)) for source, kind in self._files()]
        whole = [copy for copy in lists if copy is not None]
        if len(whole) < len(lists):
            return False
        content = gateway.file_of(whole, self.form)
        if content == self._content:
            return False
        replace_durably(self.target, content)
        self._content = content
        self.told.replaced(self.target, self._copies)
        return True

    async def _compare(self, ca: str, wanted: Wanted) -> None:
        kinds: tuple[CrlKind, ...] = ("base", "delta")
        lists = [self._copies[ca, kind] for kind in kinds if (ca, kind) in self._copies]
        try:
            await wanted.compare(lists)
        except Denied as error:
            self.told.problem(f"{ca} events", error)
        else:
            if not wanted:
                self.told.well(f"{ca} events")

    def _pause(self) -> float:
        """Return for how long there is nothing to do unless an event comes."""
        pauses = [_LONGEST_PAUSE]
        # a list that others keep may change at any time, and needs no looking after
        if lists := [copy for (ca, _), copy in self._copies.items() if ca in self._wanted]:
            pauses.append(gateway.pause(lists, system_clock()).total_seconds())
        if any(self._wanted.values()):
            pauses.append(max(_PAUSE, self._backoff / 4))
        if self._backoff:
            pauses.append(self._backoff)
        if self.command is not None and self.command.wanted:
            pauses.append(self.command.pause())
        return min(pauses)

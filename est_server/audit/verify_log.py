"""The log against itself: leaves, their hashes, the tree, and the roots that were signed.

Leaves and the hashes kept of them are two records of the same thing. Where they differ, the next
root that was signed tells which of the two was altered; until then both ways are followed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from est_server.audit.finding import (
    CHECKPOINTS,
    Finding,
    checkpoint_finding,
    leaf_finding,
    tile_finding,
)
from est_server.audit.leaf import Leaf, decode_leaf
from est_server.audit.notes import Notes
from est_server.audit.tiles import HEIGHT, WIDTH, GrowingTree, TileName
from est_server.audit.tree import HASH_SIZE, leaf_hash
from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from est_server.audit.checkpoint import Checkpoint
    from est_server.ports.audit import AuditReader

_NOTHING = bytes(HASH_SIZE)


@dataclass(slots=True)
class LogCheck:
    """One check of a log, from its first leaf to its last.

    Attributes:
        reader: the log.
        keys: who may have signed checkpoints; empty where signatures are not checked.
        anchors: checkpoints that were written down elsewhere, by size.
        heard: is told of each leaf that can be read, with its place.
        size: of the log.
        notes: its checkpoints.
    """

    reader: AuditReader
    keys: Sequence[Ed25519PublicKey]
    anchors: Mapping[int, str]
    heard: Callable[[int, Leaf], None]
    size: int = 0
    notes: Notes = field(init=False)
    _kept: GrowingTree = field(default_factory=GrowingTree)
    _read: GrowingTree | None = None  # over the leaves as they are, once it is another tree
    _differ: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    _judged: int = 0
    _unlike: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes = Notes(self.reader, self.keys, self.anchors)

    def run(self) -> Iterator[Finding]:
        """Yield what is wrong with the log."""
        self.size = self.reader.size()
        notes = self.notes.walk()
        due = next(notes, None)
        for place, read, kept in self._hashes():
            if read is None:
                yield leaf_finding("missing", place, f"leaf {place} was removed")
            yield from self._append(place, read, kept)
            while due is not None and due[0] <= place + 1:
                yield from due[2]
                if due[1] is not None and due[0] == place + 1:
                    yield from self._judge(due[1])
                due = next(notes, None)
        beyond: int | None = None
        while due is not None:
            yield from due[2]
            if due[1] is not None and due[0] > self.size:
                beyond = due[0]
            due = next(notes, None)
        yield from self._end(beyond)

    def _hashes(self) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """Yield each place, the hash of the leaf there, and the hash that is kept of it."""
        for start in range(0, self.size, WIDTH):
            name = TileName(0, start // WIDTH)
            tile = self.reader.tiles([name]).get(name, b"")
            leaves = dict(self.reader.leaves(start, WIDTH))
            for place in range(start, min(start + WIDTH, self.size)):
                at = (place - start) * HASH_SIZE
                kept = tile[at : at + HASH_SIZE]
                data = leaves.get(place)
                if data is not None:
                    self._hear(place, data)
                yield (
                    place,
                    None if data is None else leaf_hash(data),
                    kept if len(kept) == HASH_SIZE else None,
                )

    def _hear(self, place: int, data: bytes) -> None:
        try:
            leaf = decode_leaf(data)
        except Malformed:
            return  # nobody ever wrote that: its hash differs, too
        self.heard(place, leaf)

    def _append(self, place: int, read: bytes | None, kept: bytes | None) -> Iterator[Finding]:
        if kept is None:
            yield tile_finding(0, place // WIDTH, f"the hash of leaf {place} was removed")
        elif read is not None and read != kept:
            self._differ.append((place, read, kept))
            if self._read is None:
                self._read = GrowingTree(self._kept.size, dict(self._kept.edge))
        for name, tile in self._kept.append([kept or read or _NOTHING]):
            if name.level and self.reader.tiles([name]).get(name) != tile:
                text = "is not the root over the tiles below it"
                yield tile_finding(name.level, name.place, text)
        if self._read is not None:
            for _ in self._read.append([read or kept or _NOTHING]):
                pass

    def _judge(self, checkpoint: Checkpoint) -> Iterator[Finding]:
        """Compare both trees with a root that was signed."""
        read = self._kept if self._read is None else self._read
        if self._kept.root() == checkpoint.root:
            yield from self._blame(leaves=True)
        elif read.root() == checkpoint.root:
            self._kept = read
            yield from self._blame(leaves=False)
        else:
            self._unlike.append(checkpoint.size)
            if len(self._unlike) == 1:
                text = (
                    f"leaves {self._judged} to {checkpoint.size - 1} are not those that were there"
                    " when this was signed"
                )
                yield checkpoint_finding("root", checkpoint.size, text)
            yield from self._blame(leaves=True)
        self._judged = checkpoint.size

    def _blame(self, *, leaves: bool) -> Iterator[Finding]:
        home = {kept: place for place, _, kept in self._differ}
        for place, read, _ in self._differ:
            if not leaves:
                text = f"the hash of leaf {place} was altered"
                yield tile_finding(0, place // WIDTH, text)
            elif (other := home.get(read)) is not None:
                text = f"at place {place} is the leaf that belongs at {other}"
                yield leaf_finding("reordered", place, text)
            else:
                yield leaf_finding("altered", place, f"leaf {place} was altered")
        self._differ.clear()
        self._read = None

    def _end(self, beyond: int | None) -> Iterator[Finding]:
        yield from self._blame(leaves=True)
        if len(self._unlike) > 1:
            text = f"and {len(self._unlike) - 1} checkpoints after it, up to {self._unlike[-1]}"
            yield checkpoint_finding("root", self._unlike[0], f"{text}, have other roots, too")
        if beyond is not None:
            text = f"the log ends after {self.size} leaves; {beyond} were signed"
            yield leaf_finding("tail", self.size, text)
        elif self.notes.count and self.notes.last_size < self.size:
            text = f"{self.size - max(self.notes.last_size, 0)} leaves are under no checkpoint"
            yield leaf_finding("unsigned", max(self.notes.last_size, 0), text)
        elif self.keys and self.size and not self.notes.count:
            yield Finding("audit.checkpoint.none", CHECKPOINTS, "", "", "there are no checkpoints")
        yield from self._tiles()

    def _tiles(self) -> Iterator[Finding]:
        missing = {name for name in self._kept.edge if name.level}
        for level, place in self.reader.tile_names():
            missing.discard(TileName(level, place))
            count = (self.size >> (HEIGHT * level)) - place * WIDTH
            if count <= 0:
                yield tile_finding(level, place, "belongs to no leaf")
            elif count < WIDTH:
                kept = self.reader.tiles([(level, place)])[level, place]
                if kept != self._kept.edge.get(TileName(level, place)):
                    if level == 0 and len(kept) <= count * HASH_SIZE:
                        continue  # said above, leaf by leaf
                    yield tile_finding(level, place, "is not what the leaves make of it")
        for name in sorted(missing):
            yield tile_finding(name.level, name.place, "was removed")

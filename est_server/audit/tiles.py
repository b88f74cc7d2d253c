"""The tree as it is kept: in tiles of up to 256 hashes.

Tile (0, i) holds the hashes of the leaves from 256 i on; tile (1, i) the roots of the full tiles
(0, 256 i) and following; and so on. Any complete subtree is in one tile or under a few of its
hashes. A leaf costs 32 octets; growth changes the last tile of each level alone, and the root is
found in those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from est_server.audit.tree import HASH_SIZE, Range, Subtree, node_hash, root_of, subtrees

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

HEIGHT = 8
WIDTH = 1 << HEIGHT


class TileName(NamedTuple):
    """Level and place of a tile."""

    level: int
    place: int


def tile_of(subtree: Subtree) -> TileName:
    """Return the tile that has a subtree's hash, or all that it is made of."""
    level, height = divmod(subtree.level, HEIGHT)
    return TileName(level, subtree.place >> (HEIGHT - height))


def tiles_of(ranges: Iterable[Range]) -> set[TileName]:
    """Return the tiles that have the roots of ranges."""
    return {tile_of(subtree) for one in ranges for subtree in subtrees(one)}


def edge_of(size: int) -> list[TileName]:
    """Return the tiles that a tree of this size has not filled yet, level 0 first."""
    found, level = [], 0
    while size >> (HEIGHT * level):
        count = size >> (HEIGHT * level)
        if count % WIDTH:
            found.append(TileName(level, count >> HEIGHT))
        level += 1
    return found


def range_root(wanted: Range, tiles: Mapping[Any, bytes]) -> bytes:
    """Return the root over a range from the tiles named by `tiles_of`.

    Raises:
        KeyError: a tile, or a hash in one, is not there.
    """
    return root_of([_subtree_root(subtree, tiles) for subtree in subtrees(wanted)])


def tree_root(size: int, tiles: Mapping[Any, bytes]) -> bytes:
    """Return the root of a tree from the tiles of its edge.

    Raises:
        KeyError: a tile, or a hash in one, is not there.
    """
    return range_root(Range(0, size), tiles)


def _subtree_root(subtree: Subtree, tiles: Mapping[Any, bytes]) -> bytes:
    name = tile_of(subtree)
    count = 1 << (subtree.level % HEIGHT)
    start = (subtree.place * count) % WIDTH
    hashes = tiles[name][start * HASH_SIZE : (start + count) * HASH_SIZE]
    if len(hashes) != count * HASH_SIZE:
        raise KeyError(name)
    return perfect_root(hashes)


def perfect_root(hashes: bytes) -> bytes:
    """Return the root over hashes whose number is a power of two."""
    row = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    while len(row) > 1:
        row = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
    return row[0]


@dataclass(slots=True)
class GrowingTree:
    """A tree that leaves are added to.

    Attributes:
        size: how many leaves it has.
        edge: its unfilled tiles by name.
    """

    size: int = 0
    edge: dict[TileName, bytes] = field(default_factory=dict)

    def append(self, leaves: Iterable[bytes]) -> Iterator[tuple[TileName, bytes]]:
        """Add leaves by their hashes and yield each tile that is full by that, complete.

        The tiles of `edge` that are not full have to be kept by the caller, too.
        """
        for leaf in leaves:
            self.size += 1
            level, place, added = 0, self.size - 1, leaf
            while True:
                name = TileName(level, place >> HEIGHT)
                tile = self.edge.get(name, b"") + added
                if len(tile) < WIDTH * HASH_SIZE:
                    self.edge[name] = tile
                    break
                self.edge.pop(name, None)
                yield name, tile
                level, place, added = level + 1, name.place, perfect_root(tile)

    def root(self) -> bytes:
        """Return the root.

        Raises:
            KeyError: the edge is not that of a tree of this size.
        """
        return tree_root(self.size, self.edge)

"""The Merkle tree of RFC 9162 2.1 and its proofs.

A proof is first a list of ranges, of which whoever keeps the tree then finds the hashes:

    MTH(D[start:end])     the root over the leaves of a range, RFC 9162 2.1.1
    PATH(m, D_n)          what is beside the way from leaf m to the root, 2.1.3.1
    PROOF(m, D_n)         what leads from the root over m leaves to that over n, 2.1.4.1

Each range is made of complete subtrees, whose hashes never change once they are there.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from est_server.errors import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HASH_SIZE = 32
EMPTY_ROOT = sha256(b"").digest()
MOST_LEAVES = 1 << 62


class Range(NamedTuple):
    """The leaves from `start` up to but not including `end`."""

    start: int
    end: int


class Subtree(NamedTuple):
    """A complete subtree: the 2^level leaves from place times 2^level on."""

    level: int
    place: int


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf (RFC 9162 2.1.1)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others (RFC 9162 2.1.1)."""
    return sha256(b"\x01" + left + right).digest()


def subtrees(wanted: Range) -> list[Subtree]:
    """Return the complete subtrees that a range of the tree is made of, left to right."""
    found, start = [], wanted.start
    while start < wanted.end:
        level = (wanted.end - start).bit_length() - 1
        if start:  # a subtree begins at a multiple of its own size
            level = min(level, (start & -start).bit_length() - 1)
        found.append(Subtree(level, start >> level))
        start += 1 << level
    return found


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root over a range from the hashes of its `subtrees`."""
    if not hashes:
        return EMPTY_ROOT
    found = hashes[-1]
    for left in reversed(hashes[:-1]):
        found = node_hash(left, found)
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return the ranges whose roots are PATH(index, D_size), from the leaf upwards.

    Raises:
        ValueError: the tree has no such leaf.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree of {size} leaves has no leaf {index}")
    found, at = [], Range(0, size)
    while at.end - at.start > 1:
        middle = at.start + _split(at.end - at.start)
        if index < middle:
            found.append(Range(middle, at.end))
            at = Range(at.start, middle)
        else:
            found.append(Range(at.start, middle))
            at = Range(middle, at.end)
    return found[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Return the ranges whose roots are PROOF(first, D_second).

    Raises:
        ValueError: the first tree is empty, or larger than the second.
    """
    if not 0 < first <= second:
        raise ValueError(f"nothing leads from a tree of {first} leaves to one of {second}")
    found, at, whole = [], Range(0, second), True
    while at.end != first:
        middle = at.start + _split(at.end - at.start)
        if first <= middle:
            found.append(Range(middle, at.end))
            at = Range(at.start, middle)
        else:
            found.append(Range(at.start, middle))
            at, whole = Range(middle, at.end), False
    if not whole:
        found.append(at)
    return found[::-1]


def check_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if a leaf is in a tree (RFC 9162 2.1.3.2).

    Args:
        leaf: `leaf_hash` of it.
        index: where it is.
        size: how many leaves the tree has.
        proof: hashes from the leaf upwards.
        root: of the tree.

    Raises:
        Malformed: ``audit.inclusion``.
    """
    found = leaf
    try:
        for sibling, on_the_left in _climbed(index, size - 1, proof):
            found = node_hash(sibling, found) if on_the_left else node_hash(found, sibling)
    except ValueError:
        found = b""
    if found != root or not root:
        text = f"leaf {index} is not proven to be among {size} leaves"
        raise Malformed("audit.inclusion", text)


def check_consistency(
    first: int, first_root: bytes, second: int, second_root: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the second tree is the first one with leaves added (RFC 9162 2.1.4.2).

    Raises:
        Malformed: ``audit.consistency``.
    """
    try:
        roots = _grown(first, first_root, second, proof)
    except ValueError:
        roots = (b"", b"")
    if roots != (first_root, second_root) or not first_root:
        text = f"the log of {second} leaves does not begin with the {first} leaves of before"
        raise Malformed("audit.consistency", text)


def _grown(
    first: int, first_root: bytes, second: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Return the two roots that a proof of consistency leads to.

    Raises:
        ValueError: it has another length than such a proof has.
    """
    if first == second and not proof:
        return first_root, first_root
    if not 0 < first < second:
        raise ValueError("not a tree and a larger one")
    way = [first_root, *proof] if first & (first - 1) == 0 else [*proof]
    number, last = first - 1, second - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    old = new = way[0] if way else b""
    for sibling, on_the_left in _climbed(number, last, way[1:]):
        if on_the_left:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    return old, new


def _climbed(number: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Yield the siblings on the way up from a node, and whether each is on the left.

    Args:
        number: of the node in its row.
        last: number of the row's last node.
        proof: the siblings.

    Raises:
        ValueError: there is no such node, or the way has another length.
    """
    if not 0 <= number <= last < MOST_LEAVES:
        raise ValueError("no such node")
    for sibling in proof:
        if last == 0:
            raise ValueError("beyond the root")
        on_the_left = bool(number & 1) or number == last
        yield sibling, on_the_left
        while on_the_left and number and not number & 1:
            number, last = number >> 1, last >> 1
        number, last = number >> 1, last >> 1
    if last != 0:
        raise ValueError("below the root")


def _split(size: int) -> int:
    """Return the largest power of two below `size` (RFC 9162 2.1.1: k)."""
    return 1 << ((size - 1).bit_length() - 1)

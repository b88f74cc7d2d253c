"""Exact membership in one half of a known universe, by linear equations over GF(2).

A column is a string of bits. A key is hashed to a place in it and to 224 coefficients; its product
with the column is the parity of those bits of the column, from that place on, whose coefficient is
1. A column is found whose products with given keys are what they should be: one equation a key,
solved by elimination, which is quick since each equation touches a narrow band (a ribbon filter:
Dillinger and Walzer 2021, arXiv 2103.02515). An exact filter is two levels of columns:

    sieve     some columns, random but for this: the product of every member with each is 0. Another
              key passes all of n columns by chance, one in 2^n
    decision  one column, for all keys that pass the sieve: product 0 for a member, 1 for another

so a key of the universe is a member exactly if all its products are 0; of a key from outside
nothing is known. Two levels are the construction of Clubcard (Schanck 2025), which needs the least.
docs/compact-set.md describes the octets for those who write a check of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256, shake_256
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BAND = 28
"""Octets of coefficients: what a SHA-256 has left beyond the four that tell the place."""
MOST_SIEVE = 32
SIEVE, DECISION = b"\x01", b"\x02"
_SLACK = 50
"""One octet more for so many: fewer make an equation fail, and all has to be done again."""

Equation = tuple[int, int, int]
"""Place in octets, coefficients (bit 8i+j is bit j of octet i, the lowest being 0), product."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Two levels of columns.

    Attributes:
        seed: what hashes depend on.
        sieve: columns of one length; none where members are not rare.
        decision: one column; empty where nothing has to be told apart, and all are members.
    """

    seed: bytes
    sieve: tuple[bytes, ...] = field(repr=False)
    decision: bytes = field(repr=False)

    def has(self, key: bytes) -> bool:
        """Tell whether a key of the universe is a member."""
        levels = ((SIEVE, self.sieve), (DECISION, (self.decision,) if self.decision else ()))
        return all(
            not any(_product(column, place, coefficients) for column in columns)
            for level, columns in levels
            if columns
            for place, coefficients in (hashed(self.seed + level, key, len(columns[0])),)
        )


def hashed(prefix: bytes, key: bytes, octets: int) -> tuple[int, int]:
    """Return place and coefficients of a key in a column of so many octets."""
    digest = sha256(prefix + key).digest()
    place = int.from_bytes(digest[:4], "big") * (octets - BAND + 1) >> 32
    return place, int.from_bytes(digest[4:], "little")


def build(members: Sequence[bytes], others: Sequence[bytes], seed: bytes) -> Filter | None:
    """Return a filter that tells members from others, the same for the same arguments.

    About 5 µs for each key. None if `seed` is one of the rare ones that don't work. Without
    members there is nothing to tell apart, and a filter without columns has every key: who asks it
    has to know whether there are any.

    Args:
        members: distinct keys.
        others: distinct keys, none of them a member.
        seed: some octets.
    """
    if not members or not others:
        return Filter(seed, (), b"")
    sieve = _sieve(members, others, seed)
    passed = [key for key in others if Filter(seed, sieve, b"").has(key)] if sieve else others
    if not passed:
        return Filter(seed, sieve, b"")
    prefix, octets = seed + DECISION, _octets(len(members) + len(passed))
    wanted = chain(((key, 0) for key in members), ((key, 1) for key in passed))
    equations = [(*hashed(prefix, key, octets), product) for key, product in wanted]
    rows = _eliminated(equations, octets)
    if rows is None:
        return None
    (decision,) = _solutions(rows, (shake_256(prefix).digest(octets),))
    return Filter(seed, sieve, decision)


def _sieve(members: Sequence[bytes], others: Sequence[bytes], seed: bytes) -> tuple[bytes, ...]:
    # with log2(others / members) columns as many others pass as there are members, and the
    # decision costs one more bit for each: fewer columns or more need more bits in all
    columns = min(max(0, (len(others) // len(members)).bit_length() - 1), MOST_SIEVE)
    if not columns:
        return ()
    prefix, octets = seed + SIEVE, _octets(len(members))
    rows = _eliminated([(*hashed(prefix, key, octets), 0) for key in members], octets)
    if rows is None:
        raise AssertionError("equations whose products are all 0 have a solution")
    free = [shake_256(prefix + bytes([n])).digest(octets) for n in range(columns)]
    return _solutions(rows, free)


def _octets(equations: int) -> int:
    return equations // 8 + equations // (8 * _SLACK) + BAND


def _product(column: bytes, place: int, coefficients: int) -> int:
    window = int.from_bytes(column[place : place + BAND], "little")
    return (window & coefficients).bit_count() & 1


def _eliminated(equations: list[Equation], octets: int) -> list[int] | None:
    """Return one row for each bit of a column; None if two equations contradict each other.

    A row is 0 where the bit is free. Otherwise its lowest bit is the product, the next is 1 and
    stands for the bit of the column itself, and the others are for the bits that follow it.
    """
    rows = [0] * (8 * octets)
    equations.sort()  # by their place: nearly all that is done to a row is done near it
    for place, coefficients, product in equations:
        at, rest = 8 * place, coefficients
        while rest:
            skip = (rest & -rest).bit_length() - 1
            at, rest = at + skip, rest >> skip
            if not (row := rows[at]):
                rows[at] = rest << 1 | product
                break
            rest ^= row >> 1
            product ^= row & 1  # noqa: PLW2901 - the equation is what it has become
        else:
            if product:
                return None
    return rows


def _solutions(rows: list[int], free: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return a column for each of `free`, from which it has the bits that no equation fixes."""
    return tuple(_solution(rows, one) for one in free)


def _solution(rows: list[int], free: bytes) -> bytes:
    found = bytearray(len(rows))
    behind = 0  # bits of the column that follow, the next one the lowest
    mask = (1 << 8 * BAND) - 1
    for at in range(len(rows) - 1, -1, -1):
        row = rows[at]
        bit = free[at >> 3] >> (at & 7)
        if row:
            bit = row ^ (row >> 2 & behind).bit_count()
        found[at] = bit = bit & 1
        behind = (behind << 1 | bit) & mask
    digits = bytes(found[::-1]).translate(_DIGITS)
    return int(digits, 2).to_bytes(len(rows) // 8, "little")


_DIGITS = bytes([48, 49]) + bytes(254)

"""The tree against RFC 9162 2.1 written down naively, and against published hashes."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from est_server.audit import tree
from est_server.audit.tiles import GrowingTree, TileName, edge_of, range_root, tiles_of
from est_server.errors import Malformed

# Leaves and roots of Certificate Transparency's own tests (google/certificate-transparency,
# cpp/merkletree/merkle_tree_test.cc), which other implementations check themselves against too
CT_LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
CT_INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
}
CT_CONSISTENCY = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


# -- RFC 9162 as it is written -----------------------------------------------------------------


def split(n):
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d):
    if not d:
        return sha256(b"").digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m, d):
    if len(d) == 1:
        return []
    k = split(len(d))
    return [*path(m, d[:k]), mth(d[k:])] if m < k else [*path(m - k, d[k:]), mth(d[:k])]


def subproof(m, d, b):
    if m == len(d):
        return [] if b else [mth(d)]
    k = split(len(d))
    if m <= k:
        return [*subproof(m, d[:k], b), mth(d[k:])]
    return [*subproof(m - k, d[k:], False), mth(d[:k])]


# -- ours --------------------------------------------------------------------------------------


def grown(leaves):
    """Return the tree over leaves, and all its tiles."""
    found = GrowingTree()
    tiles = dict(found.append(tree.leaf_hash(leaf) for leaf in leaves))
    return found, tiles | found.edge


def hashes(ranges, tiles):
    needed = {name: tiles[name] for name in tiles_of(ranges)}
    return [range_root(one, needed) for one in ranges]


def named(size):
    return [f"leaf {number}".encode() for number in range(size)]


def hexed(found):
    return [one.hex() for one in found]


@pytest.mark.parametrize("size", range(9))
def test_roots_as_published(size):
    assert grown(CT_LEAVES[:size])[0].root().hex() == CT_ROOTS[size]


@pytest.mark.parametrize(("index", "size"), CT_INCLUSION)
def test_inclusion_as_published(index, size):
    _, tiles = grown(CT_LEAVES[:size])
    assert hexed(hashes(tree.inclusion_ranges(index, size), tiles)) == (CT_INCLUSION[index, size])


@pytest.mark.parametrize(("first", "second"), CT_CONSISTENCY)
def test_consistency_as_published(first, second):
    _, tiles = grown(CT_LEAVES[:second])
    found = hexed(hashes(tree.consistency_ranges(first, second), tiles))
    assert found == CT_CONSISTENCY[first, second]


@given(st.lists(st.binary(max_size=8), max_size=70))
def test_root_is_that_of_the_rfc(leaves):
    assert grown(leaves)[0].root() == mth(leaves)


@pytest.mark.parametrize("size", [255, 256, 257, 511, 512, 513, 1000])
def test_root_across_tiles(size):
    found, tiles = grown(named(size))
    assert found.root() == mth(named(size))
    assert sorted(found.edge) == edge_of(size)
    assert all(len(tiles[name]) == 256 * 32 for name in tiles if name not in found.edge)


def test_three_levels_of_tiles():
    size = 65536 + 256 + 1
    found, tiles = grown(named(size))
    assert found.root() == mth(named(size))
    assert edge_of(size) == [TileName(0, 257), TileName(1, 1), TileName(2, 0)]
    proof = hashes(tree.inclusion_ranges(65600, size), tiles)
    tree.check_inclusion(tree.leaf_hash(b"leaf 65600"), 65600, size, proof, found.root())


@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_inclusion_is_that_of_the_rfc_and_checks(case):
    index, size = case
    leaves = named(size)
    found, tiles = grown(leaves)
    proof = hashes(tree.inclusion_ranges(index, size), tiles)
    assert proof == path(index, leaves)
    tree.check_inclusion(tree.leaf_hash(leaves[index]), index, size, proof, found.root())


@given(st.integers(1, 600).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_consistency_is_that_of_the_rfc_and_checks(case):
    first, second = case
    leaves = named(second)
    found, tiles = grown(leaves)
    proof = hashes(tree.consistency_ranges(first, second), tiles)
    assert proof == subproof(first, leaves, True)
    tree.check_consistency(first, mth(leaves[:first]), second, found.root(), proof)


@st.composite
def spoiled(draw, proof):
    """Return another list of hashes."""
    kind = draw(st.sampled_from(["flip", "drop", "add", "swap"]))
    found = list(proof)
    if kind == "add" or not found:
        found.insert(draw(st.integers(0, len(found))), draw(st.sampled_from([bytes(32), *proof])))
    elif kind == "flip":
        at = draw(st.integers(0, len(found) - 1))
        found[at] = bytes([found[at][0] ^ 1]) + found[at][1:]
    elif kind == "drop":
        del found[draw(st.integers(0, len(found) - 1))]
    else:
        found.reverse()
    return found


@given(
    st.data(), st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n)))
)
def test_another_inclusion_proof_is_refused(data, case):
    index, size = case
    leaves = named(size)
    proof = path(index, leaves)
    other = data.draw(spoiled(proof))
    leaf = tree.leaf_hash(leaves[index])
    if other == proof:
        return
    with pytest.raises(Malformed, match="not proven"):
        tree.check_inclusion(leaf, index, size, other, mth(leaves))


@given(st.data(), st.integers(1, 40).flatmap(lambda n: st.tuples(st.integers(1, n), st.just(n))))
def test_another_consistency_proof_is_refused(data, case):
    first, second = case
    leaves = named(second)
    proof = subproof(first, leaves, True)
    other = data.draw(spoiled(proof))
    if other == proof:
        return
    with pytest.raises(Malformed, match="does not begin"):
        tree.check_consistency(first, mth(leaves[:first]), second, mth(leaves), other)


def test_what_is_not_there_is_refused():
    leaves = named(5)
    leaf, root = tree.leaf_hash(leaves[0]), mth(leaves)
    for index, size in ((5, 5), (-1, 5), (0, 0), (1, 5), (0, 4)):
        with pytest.raises(Malformed):
            tree.check_inclusion(leaf, index, size, path(0, leaves), root)
    for first, second in ((0, 5), (6, 5), (4, 5), (2, 6)):
        with pytest.raises(Malformed):
            tree.check_consistency(first, mth(leaves[:3]), second, root, subproof(3, leaves, True))
    with pytest.raises(Malformed):
        tree.check_consistency(3, mth(leaves[:2]), 3, mth(leaves[:3]), [])
    with pytest.raises(Malformed):  # a node is no leaf
        tree.check_inclusion(root, 0, 5, [], root)
    with pytest.raises(Malformed):
        tree.check_consistency(4, root, 5, root, [])
    for wanted in ((5, 5), (-1, 5)):
        with pytest.raises(ValueError, match="no leaf"):
            tree.inclusion_ranges(*wanted)
    for wanted in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="nothing leads"):
            tree.consistency_ranges(*wanted)


@given(st.integers(), st.integers(), st.lists(st.binary(max_size=40), max_size=200), st.binary())
def test_no_proof_raises_anything_else(index, size, proof, root):
    for check in (
        lambda: tree.check_inclusion(root, index, size, proof, bytes(32)),
        lambda: tree.check_consistency(index, root, size, bytes(32), proof),
    ):
        with pytest.raises(Malformed):
            check()

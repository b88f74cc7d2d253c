"""The check of a log so long that its tree has a third level: too long for a ledger in a test."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from est_server.audit.checkpoint import Checkpoint, signed_note
from est_server.audit.tiles import GrowingTree
from est_server.audit.tree import leaf_hash
from est_server.audit.verify_log import LogCheck

KEY = Ed25519PrivateKey.generate()
SIZE = 65536 + 300


class Memory:
    """An `AuditReader` of leaves that say nothing."""

    def __init__(self):
        self.data = [b"%d" % number for number in range(SIZE)]
        tree = GrowingTree()
        self.kept = dict(tree.append(map(leaf_hash, self.data))) | tree.edge
        at = datetime(2026, 11, 24, tzinfo=UTC)
        checkpoint = Checkpoint("a.example/audit", SIZE, tree.root(), at)
        self.note = signed_note(checkpoint, KEY.public_key(), KEY.sign)

    def size(self):
        return SIZE

    def leaves(self, start, limit):
        return list(enumerate(self.data[start : start + limit], start))

    def tiles(self, names):
        return {name: self.kept[name] for name in names if name in self.kept}

    def tile_names(self):
        return iter(sorted(self.kept))

    def checkpoints(self, after, limit):
        return [(SIZE, self.note)] if after < SIZE else []


@pytest.fixture(scope="module")
def log():
    return Memory()


def found(log):
    check = LogCheck(log, [KEY.public_key()], {}, lambda *_: None)
    return [(one.rule, one.key, one.message) for one in check.run()]


def test_nothing_is_wrong(log):
    assert len(log.kept[1, 0]) == 256 * 32
    assert {(0, 256), (0, 257), (1, 1), (2, 0)} <= log.kept.keys()
    assert found(log) == []


@pytest.mark.parametrize("name", [(1, 0), (2, 0), (1, 1)])
def test_an_altered_tile_is_named(log, name):
    was = log.kept[name]
    log.kept[name] = bytes(32) + was[32:]
    try:
        ((rule, key, _),) = found(log)
    finally:
        log.kept[name] = was
    assert (rule, key) == ("audit.tile", f"{name[0]}/{name[1]}")


@pytest.mark.parametrize("name", [(1, 0), (2, 0), (1, 1)])
def test_a_missing_tile_is_named(log, name):
    was = log.kept.pop(name)
    try:
        ((rule, key, _),) = found(log)
    finally:
        log.kept[name] = was
    assert (rule, key) == ("audit.tile", f"{name[0]}/{name[1]}")


def test_a_tile_too_many_is_named(log):
    log.kept[3, 0] = bytes(32)
    try:
        assert found(log) == [("audit.tile", "3/0", "belongs to no leaf")]
    finally:
        del log.kept[3, 0]

"""What every ledger promises of CRLs (est_server.ports.crl), over every adapter."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from crl_world import HOUR, SECOND, START, CrlWorld
from ledger_world import rules

from est_server.errors import Conflict
from est_server.ports.crl import Extent, PublishedCrl, crl_file


def published(number=1, kind="base", **fields):
    record = {
        "ca": "ca", "shard": 0, "number": number, "kind": kind,
        "base_number": number - 1 if kind == "delta" else None, "this_update": START,
        "next_update": START + HOUR, "extent": Extent(7, START - HOUR, 5), "size": 3,
        "published_at": START + timedelta(microseconds=1),
    }  # fmt: skip
    return PublishedCrl(**(record | fields))


async def scope(ledger, ca="ca", shard=0):
    return next(one for one in await ledger.crls.scopes() if (one.ca, one.shard) == (ca, shard))


async def test_a_number_is_reserved_once(ledger, open_again):
    other = open_again()
    await ledger.crls.add_scope("ca", 0, b"key")
    outcomes = await asyncio.gather(
        *(one.crls.reserve_number("ca", 0, after=0, at=START) for one in (ledger, other) * 5),
        return_exceptions=True,
    )
    await other.close()
    assert [found for found in outcomes if isinstance(found, int)] == [1]
    failures = [found for found in outcomes if not isinstance(found, int)]
    assert rules(failures) == ["crl.number"] * 9
    found = await scope(ledger)
    assert (found.last_number, found.reserved_at, found.published) == (1, START, ())


async def test_numbers_skip_what_was_found_outside(ledger):
    await ledger.crls.add_scope("ca", 0, b"key")
    assert await ledger.crls.reserve_number("ca", 0, after=0, at_least=41, at=START) == 42
    assert await ledger.crls.reserve_number("ca", 0, after=42, at_least=41, at=START) == 43
    with pytest.raises(Conflict, match=r"crl\.number"):
        await ledger.crls.reserve_number("ca", 0, after=42, at_least=99, at=START)
    with pytest.raises(Conflict, match=r"crl\.number"):
        await ledger.crls.reserve_number("nobody", 0, after=0, at=START)


async def test_a_scope_belongs_to_one_key(ledger):
    await ledger.crls.add_scope("ca", 0, b"key")
    await ledger.crls.add_scope("ca", 0, b"key")
    with pytest.raises(Conflict, match=r"crl\.key"):
        await ledger.crls.add_scope("ca", 0, b"another")
    await ledger.crls.add_scope("ca", 1, b"another", "http://a/1.crl")
    await ledger.crls.add_scope("ca", 1, b"another", "http://a/1.crl")
    with pytest.raises(Conflict, match=r"crl\.url"):
        await ledger.crls.add_scope("ca", 1, b"another", "http://b/1.crl")
    assert (await scope(ledger, "ca", 1)).only_at == "http://a/1.crl"
    await ledger.crls.add_scope("cb", 0, b"another")
    assert [(one.ca, one.shard) for one in await ledger.crls.scopes()] == [
        ("ca", 0), ("ca", 1), ("cb", 0),
    ]  # fmt: skip


async def test_what_was_published_comes_back(ledger, open_again):
    await ledger.crls.add_scope("ca", 0, b"key")
    base, delta = published(2), published(2, "delta", extent=Extent(1 << 40))
    await ledger.crls.publish([(base, b"abc"), (delta, b"def")])
    other = open_again()
    found = await scope(other)
    assert found.published == (base, delta)
    assert (found.newest("base"), found.newest("delta")) == (base, delta)
    assert await other.crls.crl_der("ca", 0, "base") == (2, b"abc")
    assert await other.crls.crl_der("ca", 0, "delta") == (2, b"def")
    assert await other.crls.crl_der("ca", 1, "base") is None
    await other.close()


@pytest.mark.parametrize("kind", ["base", "delta"])
@pytest.mark.parametrize("number", [1, 2])
async def test_nothing_is_published_behind_something_newer(ledger, kind, number):
    await ledger.crls.publish([(published(2, "delta"), b"new")])
    with pytest.raises(Conflict, match=r"crl\.superseded"):
        await ledger.crls.publish([(published(number, kind), b"old")])
    await ledger.crls.publish([(published(number, kind, shard=1), b"elsewhere")])
    assert await ledger.crls.crl_der("ca", 0, "base") is None


async def test_what_is_superseded_is_remembered_as_long_as_it_is_in_force(ledger):
    await ledger.crls.add_scope("ca", 0, b"key")
    for number in range(1, 4):
        at = START + number * HOUR
        crl = published(number, this_update=at, next_update=at + 2 * HOUR)
        await ledger.crls.publish([(crl, b"x"), (replace(crl, kind="delta"), b"y")])
    found = (await scope(ledger)).published
    assert [(one.kind, one.number) for one in found] == [("base", 2), ("base", 3), ("delta", 3)]
    assert await ledger.crls.crl_der("ca", 0, "base") == (3, b"x")


async def test_changes_are_seen_in_their_scope_alone(ledger):
    world = CrlWorld(ledger)
    for serial, shard in ((1, 1), (2, 2)):
        await world.issue(serial, shard=shard)
    assert not await ledger.crls.changed("ca", 0, after=0)
    await world.revoke(1)
    for shard, seen in ((0, True), (1, True), (2, False)):
        assert await ledger.crls.changed("ca", shard, after=0) is seen
    assert not await ledger.crls.changed("ca", 0, after=1)
    assert not await ledger.crls.changed("cb", 0, after=0)


async def test_a_snapshot_is_one_moment(ledger):
    world = CrlWorld(ledger)
    for serial in (1, 2, 3):
        await world.issue(serial, shard=serial % 2 + 1)
    await world.revoke(3)
    await world.revoke(1)
    whole = await ledger.crls.snapshot("ca", 0, now=Extent(0), since=Extent(1), complete=True)
    assert whole.sequence == 2
    assert b"".join(whole.complete).count(b"\x30") >= 2
    assert [one.serial_number for one in whole.changed] == [1]
    part = await ledger.crls.snapshot("ca", 2, now=Extent(0), since=None, complete=True)
    assert b"".join(part.complete) == b"".join(whole.complete), "by serial number"
    none = await ledger.crls.snapshot("ca", 1, now=Extent(0), since=Extent(0), complete=False)
    assert (none.sequence, none.complete, list(none.changed)) == (2, None, [])


@pytest.mark.parametrize(
    ("shard", "kind", "name"),
    [
        (0, "base", "a.crl"), (0, "delta", "a-delta.crl"), (3, "base", "a-3.crl"),
        (3, "delta", "a-3-delta.crl"), ("{shard}", "base", "a-{shard}.crl"),
    ],
)  # fmt: skip
def test_names_of_files(shard, kind, name):
    assert crl_file("a", shard, kind) == name


async def test_a_certificate_keeps_its_shard(ledger):
    world = CrlWorld(ledger)
    await world.issue(5, shard=4)
    await world.revoke(5, "certificateHold")
    await world.release(5)
    world.now += SECOND
    await world.revoke(5)
    assert (await ledger.certificate("ca", 5)).crl_shard == 4
    assert await ledger.crls.changed("ca", 4, after=2)

"""What every ledger promises about rollovers and who follows them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
from ledger_world import NOW, any_key, issue, reservation, rules

from est_server.enrollment.responder import RESPONDER
from est_server.errors import Conflict
from est_server.ports.rollover import Follower, FollowerCounts, Rollover, TlsReplacement

HOUR = timedelta(hours=1)
END = NOW + timedelta(90)
MADE = Rollover(
    "ca", 2, "prepared", "ca", "ca-g2", {"key": "file:ü", "chain": ["a"]}, b"root", b"\x00old",
    b"new\xff", NOW,
)  # fmt: skip
TLS = TlsReplacement(b"r" * 32, (b"leaf", b"issuer"))


async def walked(ledger, *states, tls=None):
    found = MADE
    await ledger.rollovers.add(found)
    for number, state in enumerate(states, 1):
        await ledger.rollovers.move(found, state, at=NOW + number * HOUR, tls=tls)
        (found,) = await ledger.rollovers.all()
    return found


async def test_a_rollover_comes_back_as_it_went_in(ledger):
    await ledger.rollovers.add(MADE)
    assert await ledger.rollovers.all() == [MADE]


async def test_each_step_has_its_time(ledger, open_again):
    found = await walked(ledger, "published", "switched", "published", "switched", "retired")
    expected = replace(
        MADE, state="retired", published_at=NOW + HOUR, switched_at=NOW + 4 * HOUR,
        ended_at=NOW + 5 * HOUR,
    )  # fmt: skip
    assert found == expected
    other = open_again()
    assert await other.rollovers.all() == [expected]
    await other.close()


async def test_the_tls_certificate_is_kept_from_the_switch_on(ledger):
    found = await walked(ledger, "published", "switched", tls=TLS)
    assert found.tls == TLS
    await ledger.rollovers.move(found, "retired", at=NOW)
    assert (await ledger.rollovers.all())[0].tls == TLS


async def test_one_rollover_of_a_ca_is_open(ledger):
    found = await walked(ledger, "published")
    third = replace(MADE, generation=3, successor="ca-g3")
    with pytest.raises(Conflict, match=r"rollover\.open"):
        await ledger.rollovers.add(third)
    await ledger.rollovers.add(replace(MADE, ca="other", successor="other-g2"))
    await ledger.rollovers.move(found, "aborted", at=NOW)
    await ledger.rollovers.add(third)
    with pytest.raises(Conflict, match=r"rollover\.open"):
        await ledger.rollovers.add(replace(MADE, ca="one", successor="ca-g2"))
    found = [(one.ca, one.generation, one.state) for one in await ledger.rollovers.all()]
    assert found == [("ca", 2, "aborted"), ("ca", 3, "prepared"), ("other", 2, "prepared")]


async def test_one_of_two_steps_at_once_wins(ledger, open_again):
    other = open_again()
    found = await walked(ledger)
    moves = [
        ledger.rollovers.move(found, "published", at=NOW),
        other.rollovers.move(found, "aborted", at=NOW),
    ]
    assert rules(await asyncio.gather(*moves, return_exceptions=True)) == ["rollover.state"]
    await other.close()


async def test_who_has_followed_is_counted(ledger):
    rollover = await walked(ledger, "published")
    for device in ("a", "b", "c", "d"):
        await issue(ledger, reservation(any_key(), device=device))
    await issue(ledger, reservation(any_key(), device="a"))  # a second one of the same device
    await issue(ledger, reservation(any_key(), device="b", ca="ca-g2"))
    await issue(ledger, reservation(any_key(), device="gone"), status="revoked")
    await issue(ledger, reservation(any_key(), device="past"), not_after=NOW)
    await issue(ledger, reservation(any_key(), device="elsewhere", ca="x"))
    await issue(ledger, reservation(any_key(), device="ocsp-responder ca", profile=RESPONDER))
    await ledger.rollovers.note_fetches("ca-g2", ["c", "stranger"], anonymous=2, at=NOW + HOUR)
    await ledger.rollovers.note_fetches("ca-g2", ["c"], anonymous=3, at=NOW + 2 * HOUR)
    await ledger.rollovers.note_fetches("ca-g3", ["d"], anonymous=1, at=NOW)
    assert await ledger.rollovers.counts(rollover, NOW + HOUR) == FollowerCounts(4, 1, 1, 2)
    behind = await ledger.rollovers.behind(rollover, NOW + HOUR)
    assert behind == [Follower("a", END, None, False), Follower("d", END, None, False)]
    assert await ledger.rollovers.behind(rollover, NOW + HOUR, limit=1) == behind[:1]
    assert (await ledger.rollovers.all())[0].anonymous_fetches == 5
    assert await ledger.rollovers.counts(rollover, END) == FollowerCounts(0, 0, 0, 0)

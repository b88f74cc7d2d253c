"""What every ledger promises about nonces (est_server.ports.nonces)."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from attacks import attack
from cases import case
from ledger_world import NOW, rules

from est_server.errors import Conflict
from est_server.ports.nonces import Nonce, Presented, TakenNonce

SESSION, COOKIE = b"s" * 32, b"c" * 32
LATER = NOW + timedelta(minutes=5)
MINE = Presented("router", SESSION, b"", b"u" * 32)


def nonce(**fields):
    given = {
        "digest": sha256(secrets.token_bytes(8)).digest(), "label": "router", "session": SESSION,
        "cookie": COOKIE, "client": "192.0.2.1", "created_at": NOW, "expires_at": LATER,
    } | fields  # fmt: skip
    return Nonce(**given)


async def add(ledger, most_per_client=8, most=100, **fields):
    made = nonce(**fields)
    await ledger.nonces.add(made, most_per_client=most_per_client, most=most)
    return made.digest


async def refused(ledger, digest, presented=MINE, at=NOW):
    with pytest.raises(Conflict) as error:
        await ledger.nonces.take(digest, presented, at=at)
    return error.value.rule


@attack(57, 62)
async def test_a_nonce_is_taken_once(ledger, open_again):
    assert await refused(ledger, b"n" * 32) == "nonce.unknown"
    digest = await add(ledger, kept='{"ak":"00"}')
    assert await ledger.nonces.take(digest, MINE, at=NOW) == TakenNonce('{"ak":"00"}', again=False)
    other = replace(MINE, use=b"v" * 32)
    assert await refused(ledger, digest, other) == "nonce.used"
    restarted = open_again()
    assert await refused(restarted, digest, other) == "nonce.used"
    await restarted.close()


async def test_the_same_request_may_show_its_nonce_again_until_it_expires(ledger):
    digest = await add(ledger)
    await ledger.nonces.take(digest, MINE, at=NOW)
    assert (await ledger.nonces.take(digest, MINE, at=NOW)).again
    assert await refused(ledger, digest, at=LATER) == "nonce.expired"


@attack(58)
async def test_of_many_that_take_one_nonce_one_gets_it(ledger, open_again):
    digest = await add(ledger)
    others = [ledger, open_again(), open_again()]
    outcomes = await asyncio.gather(
        *(
            others[number % 3].nonces.take(digest, replace(MINE, use=bytes([number])), at=NOW)
            for number in range(21)
        ),
        return_exceptions=True,
    )
    taken = [outcome for outcome in outcomes if isinstance(outcome, TakenNonce)]
    assert taken == [TakenNonce("{}", again=False)]
    refusals = [outcome for outcome in outcomes if not isinstance(outcome, TakenNonce)]
    assert rules(refusals) == ["nonce.used"] * 20
    for other in others[1:]:
        await other.close()


@case(171)
@attack(59, 60, 61)
@pytest.mark.parametrize(
    ("presented", "at", "rule"),
    [
        (replace(MINE, label="other"), NOW, "nonce.label"),
        (replace(MINE, label=""), NOW, "nonce.label"),
        (replace(MINE, session=b"t" * 32), NOW, "nonce.binding"),
        (replace(MINE, session=b""), NOW, "nonce.binding"),
        (replace(MINE, session=b"", cookie=SESSION), NOW, "nonce.binding"),
        (MINE, LATER, "nonce.expired"),
    ],
)
async def test_a_refused_nonce_stays_as_it_was(ledger, presented, at, rule):
    digest = await add(ledger)
    assert await refused(ledger, digest, presented, at) == rule
    assert not (await ledger.nonces.take(digest, MINE, at=NOW)).again


async def test_a_nonce_can_be_looked_at_without_being_spent(ledger):
    made = nonce(kept="[1]")
    await ledger.nonces.add(made, most_per_client=1, most=1)
    assert await ledger.nonces.get(made.digest) == made
    assert await ledger.nonces.get(b"other") is None
    assert not (await ledger.nonces.take(made.digest, MINE, at=NOW)).again
    assert await ledger.nonces.get(made.digest) == made


async def test_either_the_session_or_the_cookie_is_enough(ledger):
    digest = await add(ledger)
    await ledger.nonces.take(digest, replace(MINE, session=b"", cookie=COOKIE), at=NOW)
    digest = await add(ledger, session=b"")
    assert await refused(ledger, digest, replace(MINE, session=b"")) == "nonce.binding"


async def test_unused_nonces_are_counted_for_each_client_and_for_all(ledger):
    for _ in range(2):
        await add(ledger, most_per_client=2)
    with pytest.raises(Conflict, match="too many"):
        await add(ledger, most_per_client=2)
    await add(ledger, client="192.0.2.2", most=3)
    with pytest.raises(Conflict, match="too many"):
        await add(ledger, client="192.0.2.3", most=3)
    # an expired one and a used one make room
    used = await add(ledger, client="192.0.2.3")
    await ledger.nonces.take(used, MINE, at=NOW)
    await add(ledger, client="192.0.2.3", most=4)
    await add(ledger, most_per_client=1, created_at=LATER, expires_at=LATER + timedelta(1))


async def test_expired_nonces_are_forgotten(ledger):
    digest = await add(ledger)
    later = LATER + timedelta(hours=1)
    await add(ledger, created_at=later - timedelta(seconds=1), expires_at=later + timedelta(1))
    assert await refused(ledger, digest, at=later) == "nonce.expired"
    await add(ledger, created_at=later, expires_at=later + timedelta(1))
    assert await refused(ledger, digest, at=later) == "nonce.unknown"

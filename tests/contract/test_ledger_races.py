"""What is counted, or decided on what was read, holds when two processes do it at once.

Each breaks where a rule of `est_server.storage.transaction` is not kept.
"""

from __future__ import annotations

import asyncio

import pytest
from ledger_world import NOW, any_key, issue, reservation, rules
from pending_world import wait
from test_nonce_contract import add

from est_server.ports.ledger import Device


@pytest.fixture
async def two(ledger, open_again):
    """One ledger as two processes have it."""
    other = open_again()
    await asyncio.gather(ledger.ping(), other.ping())
    yield ledger, other
    await other.close()


async def failures(*calls):
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    return rules([one for one in outcomes if isinstance(one, Exception)])


async def test_a_device_gets_no_more_certificates_than_its_profile_allows(two):
    made = [reservation(any_key(), others=0) for _ in range(16)]
    refused = await failures(*(issue(two[n % 2], one) for n, one in enumerate(made)))
    assert refused == ["request.overtaken"] * 15
    assert len(await two[1].certificates()) == 1


async def test_no_more_requests_of_an_identity_wait_than_may(two):
    keys = [any_key() for _ in range(16)]
    refused = await failures(
        *(wait(two[n % 2], most=3, match_key=key) for n, key in enumerate(keys))
    )
    assert refused == ["approval.too-many"] * 13


async def test_no_more_nonces_are_given_out_than_may(two):
    refused = await failures(*(add(two[n % 2], most_per_client=5) for n in range(16)))
    assert refused == ["nonce.too-many"] * 11


async def test_a_device_leaves_a_state_once(two):
    await two[0].add_devices([Device("a", "p", NOW)])
    refused = await failures(
        *(
            two[n % 2].set_device_state("a", to, expected=["active"], at=NOW)
            for n, to in enumerate(["quarantined", "retired"] * 8)
        )
    )
    assert refused == ["device.state"] * 15

"""A responder that one process makes and others read, who have no key of the CA."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from ocsp_world import World

from est_server.app.keyless import KeylessAuthority, show
from est_server.errors import BackendUnavailable
from est_server.ports.revocation import Revocation
from est_server.ports.validation import SharedResponder
from est_server.revocation.ocsp_shared import ReadResponder, SharingResponder
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger, read_only_ledger

PASSPHRASE = b"known to both"


@pytest.fixture
async def world(tmp_path):
    upgrade_schema(tmp_path / "ledger.db")
    made = World(SqliteLedger(tmp_path / "ledger.db"))
    made.add_ca()
    yield made
    await made.ledger.close()


@pytest.fixture
async def outside(world, tmp_path):
    """The ledger as a process has it that only reads."""
    ledger = read_only_ledger(tmp_path / "ledger.db")
    yield ledger
    await ledger.close()


def responder(kind, world, ledger=None, passphrase=PASSPHRASE):
    plain = world.cas["issuing"].responder
    return kind(
        "issuing", plain.authority, plain.policy, plain.clock, plain.issue,
        ledger=ledger or world.ledger, passphrase=passphrase,
    )  # fmt: skip


async def test_what_one_makes_the_other_signs_with(world, outside):
    made = await responder(SharingResponder, world).signer()
    read = await responder(ReadResponder, world, outside).signer()
    assert read.certificate == made.certificate
    assert read.key.private_numbers() == made.key.private_numbers()


async def test_the_ledger_holds_no_key_that_opens_without_the_passphrase(world, outside):
    await responder(SharingResponder, world).signer()
    shared = await outside.validation.responder("issuing")
    for wrong in (None, b"", b"another"):
        with pytest.raises((ValueError, TypeError)):
            load_der_private_key(shared.key, wrong)
    assert "key=" not in repr(shared)
    for wrong in (None, b"another"):
        with pytest.raises(BackendUnavailable, match=r"ocsp\.passphrase"):
            await responder(ReadResponder, world, outside, wrong).signer()


async def test_who_only_reads_waits_until_there_is_one(world, outside):
    reading = responder(ReadResponder, world, outside)
    with pytest.raises(BackendUnavailable, match=r"ocsp\.responder"):
        await reading.signer()
    await responder(SharingResponder, world).signer()
    world.time.pass_(11)
    assert (await reading.signer()).certificate


async def test_a_process_that_starts_anew_makes_no_other(world):
    first = await responder(SharingResponder, world).signer()
    second = await responder(SharingResponder, world).signer()
    assert second.certificate == first.certificate


async def test_the_next_one_is_made_in_time_and_read_in_time(world, outside):
    sharing = responder(SharingResponder, world)
    reading = responder(ReadResponder, world, outside)
    first = await sharing.signer()
    assert (await reading.signer()).certificate == first.certificate
    life = first.certificate.not_valid_after_utc - first.certificate.not_valid_before_utc
    world.time.pass_((life * 3 / 4).total_seconds())
    await reading.renew()
    assert (await reading.signer()).certificate == first.certificate, "it is good still"
    await sharing.renew()
    await reading.renew()
    second = await reading.signer()
    assert second.certificate == (await sharing.signer()).certificate != first.certificate


async def test_a_revoked_responder_signs_nowhere(world, outside):
    sharing = responder(SharingResponder, world)
    first = await sharing.signer()
    reading = responder(ReadResponder, world, outside)
    await reading.signer()
    number = first.certificate.serial_number
    await world.ledger.revocations.revoke(
        [Revocation("issuing", number, "keyCompromise", world.time.now, "test")]
    )
    for one in (sharing, reading):
        one.withdraw(number)
    with pytest.raises(BackendUnavailable, match=r"ocsp\.responder"):
        await reading.signer()
    second = await sharing.signer()
    assert second.certificate != first.certificate
    world.time.pass_(11)
    assert (await reading.signer()).certificate == second.certificate


async def test_another_passphrase_leads_to_another_responder(world, outside):
    first = await responder(SharingResponder, world).signer()
    second = await responder(SharingResponder, world, passphrase=b"changed").signer()
    assert second.certificate != first.certificate
    read = await responder(ReadResponder, world, outside, b"changed").signer()
    assert read.certificate == second.certificate


async def test_a_ca_without_a_key_shows_what_it_was_shown(world, outside):
    authority = world.cas["issuing"].responder.authority
    keyless = KeylessAuthority("issuing", authority.capabilities, outside.validation)
    with pytest.raises(BackendUnavailable, match=r"ca\.not-shown"):
        await keyless.connect()
    assert not (await keyless.health()).ok
    await show(world.ledger.validation, {"issuing": authority})
    await keyless.connect()
    assert keyless.certificates() == authority.certificates()
    assert (await keyless.health()).ok
    with pytest.raises(BackendUnavailable, match=r"ca\.keyless"):
        await keyless.issue(None)


async def test_a_ledger_that_is_only_read_changes_nothing(world, outside):
    await outside.ping()
    for change in (
        outside.validation.share_responder("issuing", SharedResponder(b"", b"")),
        outside.revocations.revoke([Revocation("issuing", 1, "superseded", world.time.now, "x")]),
        outside.forget_node("n"),
    ):
        with pytest.raises(BackendUnavailable, match=r"ledger\.read-only"):
            await change
    attempt = asyncio.to_thread(outside._reads._connect().execute, "DELETE FROM nodes")
    with pytest.raises(Exception, match="readonly"):
        await attempt


async def test_what_is_shown_is_kept_as_it_is(world):
    validation = world.ledger.validation
    authority = world.cas["issuing"].responder.authority
    assert await validation.ca("issuing") is None
    assert await validation.responder("issuing") is None
    for _ in range(2):  # written, then replaced
        await show(validation, {"issuing": authority, "other": authority})
    found = await validation.ca("issuing")
    certificates = authority.certificates()
    assert found.issuer == certificates.issuer.public_bytes(Encoding.DER)
    assert found.chain == tuple(one.public_bytes(Encoding.DER) for one in certificates.chain)
    shared = SharedResponder(b"certificate", b"key")
    for _ in range(2):
        await validation.share_responder("issuing", shared)
    assert await validation.responder("issuing") == shared

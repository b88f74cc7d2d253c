"""Enrollment as a use case: who is asking, the same question, a CA that fails."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from shutil import copytree

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from device_world import csr
from enrollment_world import open_desk
from est_process import initialise

from est_server.enrollment.request import BasicCredentials
from est_server.errors import (
    BackendRejected,
    BackendUnavailable,
    Denied,
    Malformed,
    NotFound,
    Pending,
    RateLimited,
    Unauthenticated,
)
from est_server.ports.revocation import Revocation


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return initialise(tmp_path_factory.mktemp("site") / "server", "--interop")


@pytest.fixture
async def desk(site, tmp_path):
    (tmp_path / "ca").mkdir()
    server = replace(site, directory=copytree(site.directory, tmp_path / "server"))
    async with open_desk(server, tmp_path / "ca") as found:
        yield found


@pytest.fixture
async def user(desk):
    return await desk.user("somebody")


def certificate(answer):
    return x509.load_der_x509_certificate(answer.certificate.der)


async def refused(desk, request, kind, rule):
    with pytest.raises(kind) as caught:
        await desk.service.enroll(request)
    assert caught.value.rule == rule
    return caught.value


# -- who is asking --------------------------------------------------------------------------------


async def test_a_label_that_is_nowhere(desk, user):
    await refused(desk, desk.request(csr(), user, label="nowhere"), NotFound, "label.unknown")


async def test_nobody(desk):
    await refused(desk, desk.request(csr(), None), Unauthenticated, "authentication.missing")
    assert await desk.ledger.decisions(limit=10) == []


async def test_an_unknown_user_and_a_wrong_password_are_told_alike(desk, user):
    said = [
        await refused(desk, desk.request(csr(), who), Unauthenticated, "authentication.password")
        for who in (BasicCredentials("nobody", "x"), replace(user, password="x"))
    ]
    assert len({str(error) for error in said}) == 1
    assert await desk.ledger.decisions(limit=10) == [], "a 401 leaves nothing behind"


async def test_a_credential_that_has_expired_or_is_spent(desk):
    old = await desk.user("old", expires_at=desk.clock() - timedelta(seconds=1))
    await refused(desk, desk.request(csr(), old), Unauthenticated, "credential.expired")
    once = await desk.user("once", uses_allowed=1)
    await desk.service.enroll(desk.request(csr("one"), once))
    await refused(desk, desk.request(csr("two"), once), Denied, "credential.spent")


async def test_attempts_are_limited(desk, user):
    wrong = desk.request(csr(), replace(user, password="x"))
    for _ in range(12):  # ten of a user in five minutes
        with suppress(Unauthenticated, RateLimited):
            await desk.service.authenticate(wrong)
    await refused(desk, desk.request(csr(), user), RateLimited, "authentication.limited")


def _never(*_, **__):
    pytest.fail("the body was looked at")


async def test_the_body_is_looked_at_by_nobody_unknown(desk, monkeypatch):
    monkeypatch.setattr("est_server.enrollment.service.decode_body", _never)
    await refused(desk, desk.request(b"x", None), Unauthenticated, "authentication.missing")


async def test_bodies_that_can_not_be_read_change_nothing(desk, user):
    for body in (b"", b"AAAA", csr()[:-8]):
        with pytest.raises(Malformed):
            await desk.service.enroll(desk.request(body, user))
    assert await desk.ledger.decisions(limit=10) == []


# -- the same question ----------------------------------------------------------------------------


async def test_the_same_question_at_once_and_later_is_one_certificate(desk, user):
    request = desk.request(csr("same"), user)
    answers = await asyncio.gather(*(desk.service.enroll(request) for _ in range(20)))
    again = await desk.service.enroll(request)
    assert len({one.certificate.serial_number for one in (*answers, again)}) == 1
    assert again.repeated
    assert len(await desk.world.issued()) == 1


async def test_another_key_name_or_user_is_another_question(desk, user):
    other = await desk.user("other")
    key = ec.generate_private_key(ec.SECP256R1())
    requests = [
        desk.request(csr("one", key), user),
        desk.request(csr("one"), user),
        desk.request(csr("two", key), user),
        desk.request(csr("one", key), other),
    ]
    made = [await desk.service.enroll(one) for one in requests]
    assert len({one.certificate.serial_number for one in made}) == 4


async def test_beyond_the_window_it_is_a_new_question(desk, user):
    request = desk.request(csr("late"), user)
    first = await desk.service.enroll(request)
    desk.clock.ahead += desk.service.rulebook.idempotency_window + timedelta(seconds=1)
    second = await desk.service.enroll(request)
    assert first.certificate.serial_number != second.certificate.serial_number


async def test_what_was_revoked_is_not_handed_out_again(desk, user):
    request = desk.request(csr("gone"), user)
    first = (await desk.service.enroll(request)).certificate
    order = Revocation(first.ca, first.serial_number, "superseded", desk.clock(), "test")
    await desk.ledger.revocations.revoke([order])
    answers = await asyncio.gather(*(desk.service.enroll(request) for _ in range(5)))
    [second] = {one.certificate.serial_number for one in answers}
    assert second != first.serial_number


async def test_what_is_on_hold_stays_there(desk, user):
    request = desk.request(csr("held"), user)
    first = (await desk.service.enroll(request)).certificate
    order = Revocation(first.ca, first.serial_number, "certificateHold", desk.clock(), "test")
    await desk.ledger.revocations.revoke([order])
    await refused(desk, request, Pending, "request.issued")


# -- renewal --------------------------------------------------------------------------------------


async def test_a_certificate_renews_itself_and_not_once_it_is_revoked(desk, user):
    key = ec.generate_private_key(ec.SECP256R1())
    first = await desk.service.enroll(desk.request(csr("again", key), user))
    shown = desk.holding(certificate(first))
    renewal = desk.request(csr("again", key), None, operation="simplereenroll", tls=shown)
    second = await desk.service.enroll(renewal)
    assert second.certificate.replaces == first.certificate.serial_number
    for one in (first, second):
        row = one.certificate
        order = Revocation(row.ca, row.serial_number, "keyCompromise", desk.clock(), "test")
        await desk.ledger.revocations.revoke([order])
    error = await refused(desk, renewal, Denied, "certificate.revoked")
    [decision] = await desk.ledger.decisions(decision_id=error.decision_id)
    assert (decision.verdict, decision.rule) == ("deny", "certificate.revoked")


# -- a CA that fails ------------------------------------------------------------------------------


async def test_a_busy_ca_frees_the_request(desk, user):
    request = desk.request(csr("busy"), user)
    await desk.world.fail("throttle")
    await refused(desk, request, BackendUnavailable, "ca.throttled")
    await desk.service.enroll(request)
    assert len(await desk.world.issued()) == 1


async def test_a_ca_that_says_no(desk, user):
    await desk.world.fail("refused")
    await refused(desk, desk.request(csr("no"), user), BackendRejected, "ca.refused")


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("wrong-key", "issued.key"),
        ("wrong-names", "issued.subject"),
        ("wrong-validity", "issued.validity"),
        ("wrong-issuer", "issued.signature"),
    ],
)
async def test_a_wrong_answer_reaches_no_device(desk, user, fault, rule):
    await desk.world.fail(fault)
    await refused(desk, desk.request(csr("wrong"), user), BackendRejected, rule)
    good = await desk.ledger.certificates(status="good")
    assert good == []


async def test_a_ca_that_has_not_decided(desk, user):
    request = desk.request(csr("later"), user)
    await desk.world.fail("pending")
    error = await refused(desk, request, Pending, "ca.pending")
    assert error.retry_after >= 5
    await desk.world.heal()
    desk.clock.ahead += timedelta(minutes=1)
    await desk.service.enroll(request)
    assert len(await desk.world.issued()) == 1


async def test_a_client_that_hangs_up_meanwhile_finds_its_certificate_later(
    desk, user, monkeypatch
):
    """Cancelled before the record: the request ends all the same, or stays open."""
    asked, go = asyncio.Event(), asyncio.Event()
    usual = type(desk.authority).issue

    async def slow(self, order):
        made = await usual(self, order)
        asked.set()
        await go.wait()
        return made

    monkeypatch.setattr(type(desk.authority), "issue", slow)
    request = desk.request(csr("hangup"), user)
    task = asyncio.create_task(desk.service.enroll(request))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go.set()
    monkeypatch.setattr(type(desk.authority), "issue", usual)
    [made] = await desk.world.issued()
    for _ in range(50):
        try:
            again = await desk.service.enroll(request)
        except Pending:
            await asyncio.sleep(0.05)
            continue
        assert again.certificate.serial_number == made.serial_number
        break
    else:
        [open_one] = await desk.ledger.unsettled()
        assert open_one.identity == "somebody", "reserved: reconcile settles it by its token"
    assert len(await desk.world.issued()) == 1

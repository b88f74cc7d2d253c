"""An ACME server as the CA: the account, the order's life, and who issues."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from acme_backend import opened
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fake_acme import FakeAcme, Said, running

from est_server.errors import BackendRejected, BackendUnavailable, Pending
from est_server.pki.authority import make_issuing, make_root, plain_key
from est_server.pki.keys import generate_key
from est_server.pki.plan_names import encode_names
from est_server.ports.orders import Ordered
from est_server.testing.desk import Desk, MovedClock, open_ledger, order_of
from est_server.testing.issuer import FakeIssuer

NOW = datetime.now(UTC)  # noqa: TID251 - certificates that are valid now
YEAR = timedelta(days=365)


@pytest.fixture
def fake(tmp_path):
    return FakeAcme(tmp_path)


@pytest.fixture
async def authority(fake):
    async with running(fake) as url:
        made = here(fake, url)
        await made.connect()
        yield made
        await made.close()


def here(fake, url, **settings):
    settings = {"issuers": ["root.pem", "issuing.pem"], "timeout": "2s", **settings}
    return opened(fake.folder, MovedClock(), url, **settings)


def new_order(authority):
    return order_of(Desk(None, authority, MovedClock()).new_order())


async def ordered(authority):
    order = new_order(authority)
    return replace(order, ticket=await authority.prepare(order))


async def unavailable(waited):
    with pytest.raises(BackendUnavailable) as caught:
        await waited
    return caught.value


# --- the account -------------------------------------------------------------------------------


async def test_the_account_is_found_again_by_its_key(fake):
    fake.external, fake.terms = True, "https://acme.example/terms"
    async with running(fake) as url:
        for _ in range(2):
            authority = here(fake, url)
            await authority.connect()
            await authority.close()
    assert len(fake.accounts) == 1
    opened_with = [asked for name, asked in fake.asked if name == "newAccount"]
    assert [asked.get("onlyReturnExisting") for asked in opened_with] == [True, None, True]


@pytest.mark.parametrize(
    ("wrong", "settings", "hint"),
    [
        ({"terms": "https://acme.example/terms"}, {"terms_of_service_agreed": False},
         "https://acme.example/terms"),
        ({"external": True}, {"external_account": None}, "set external_account"),
        ({"account_status": "deactivated"}, {}, "deactivated"),
        ({"says": {"newAccount": Said("invalidContact", "not this")}}, {}, "not this"),
    ],
)  # fmt: skip
async def test_what_is_in_the_way_of_an_account(fake, wrong, settings, hint):
    for name, value in wrong.items():
        setattr(fake, name, value)
    async with running(fake) as url:
        authority = here(fake, url, **settings)
        error = await unavailable(authority.connect())
        await authority.close()
    assert hint in error.hint
    assert error.nothing_issued


async def test_a_binding_with_another_key(fake):
    fake.external = True
    async with running(fake) as url:
        (fake.folder / "eab2").write_text("YW5vdGhlci1rZXk")
        binding = {"key_id": "kid-1", "mac_key": "file:eab2"}
        authority = here(fake, url, external_account=binding)
        error = await unavailable(authority.connect())
        await authority.close()
    assert "does not verify" in error.hint


async def test_a_server_that_is_away_or_too_busy_for_an_account(fake, authority):
    fake.fault = "unavailable"
    error = await unavailable(authority.connect())
    assert (error.rule, error.retry_after, error.nothing_issued) == ("ca.unavailable", 9, True)
    fake.fault = ""
    fake.says["newAccount"] = Said("rateLimited")
    assert (await unavailable(authority.connect())).retry_after == 7


async def test_an_account_that_the_server_has_lost_is_opened_again(fake, authority):
    fake.accounts.clear()
    order = await ordered(authority)
    assert await authority.issue(order) in fake.certificates()


async def test_health_is_asked_of_the_account(fake, authority):
    assert (await authority.health()).ok
    assert [name for name, _ in fake.asked].count("account") == 1
    fake.account_status = "deactivated"
    health = await authority.health()
    assert (health.ok, "deactivated" in health.detail) == (False, True)
    fake.account_status = "valid"
    fake.says["account"] = Said("unauthorized", "go away")
    assert "go away" in (await authority.health()).detail
    fake.accounts.clear()
    assert (await authority.health()).ok, "opened again"
    assert len(fake.accounts) == 1


async def test_health_before_there_is_an_account(fake):
    async with running(fake) as url:
        authority = here(fake, url)
        assert (await authority.health()).ok
        await authority.close()


@pytest.mark.parametrize("name", ["RSA-2048", "EC-P384", "EC-P521"])
async def test_keys_of_accounts(fake, name):
    (fake.folder / "acme.key").write_bytes(plain_key(generate_key(name)))
    (fake.folder / "eab").write_text("")
    async with running(fake) as url:
        authority = here(fake, url, external_account=None)
        await authority.connect()
        await authority.close()
    assert len(fake.accounts) == 1


@pytest.mark.parametrize("text", [b"", b"no key", plain_key(generate_key("Ed25519"))])
def test_no_account_key(fake, text):
    (fake.folder / "acme.key").write_bytes(text)
    (fake.folder / "eab").write_text("")
    with pytest.raises(BackendUnavailable, match="account_key") as caught:
        here(fake, "https://127.0.0.1:1/dir")
    assert "openssl genpkey" in caught.value.hint


def test_a_missing_account_key_has_the_command_that_makes_one(fake):
    with pytest.raises(BackendUnavailable, match="account_key") as caught:
        here(fake, "https://127.0.0.1:1/dir", account_key="file:none.key")
    assert "openssl genpkey" in caught.value.hint


async def test_stale_nonces_are_replaced(fake, authority):
    fake.stale = 5
    assert await authority.prepare(new_order(authority))
    fake.stale = 100
    error = await unavailable(authority.prepare(new_order(authority)))
    assert (error.rule, error.nothing_issued) == ("ca.busy", True)


async def test_urls_elsewhere_are_not_asked(fake, authority):
    order = await ordered(authority)
    fake.orders[order.ticket]["finalize"] = "https://elsewhere.example/finalize"
    error = await unavailable(authority.issue(order))
    assert "elsewhere.example" in error.hint
    assert not fake.certificates()


# --- an order ----------------------------------------------------------------------------------


async def test_a_name_that_is_not_authorized_is_refused_by_name(fake, authority):
    order = new_order(authority)
    [name] = order.plan.subject_alternative_names
    fake.unauthorized.add(name.value)
    with pytest.raises(BackendRejected) as refused:
        await authority.prepare(order)
    assert refused.value.rule == "ca.not-authorized"
    assert name.value in refused.value.message
    assert "authorized" in refused.value.hint


async def test_a_server_that_takes_a_moment_to_see_that_all_is_authorized(fake, authority):
    fake.lags = True
    assert await authority.issue(await ordered(authority)) in fake.certificates()


async def test_an_order_that_is_not_ready_for_another_reason(fake, authority):
    fake.lags = True
    fake.says["order"] = Said("rateLimited")
    error = await unavailable(authority.prepare(new_order(authority)))
    assert error.rule == "ca.busy"


async def test_authorizations_that_lapse_before_the_csr_is_handed_over(fake, authority):
    order = await ordered(authority)
    fake.orders[order.ticket]["status"] = "pending"
    with pytest.raises(BackendRejected, match=r"ca\.not-authorized"):
        await authority.issue(order)
    assert await authority.find(order) is None


async def test_the_csr_is_handed_over_unchanged(fake, authority):
    order = await ordered(authority)
    await authority.issue(order)
    assert fake.orders[order.ticket]["csr"] == order.csr


async def test_an_order_that_somebody_else_was_faster_with(fake, authority):
    order = await ordered(authority)
    first, second = await asyncio.gather(authority.issue(order), authority.find(order))
    assert first == second
    assert len(fake.certificates()) == 1


async def test_a_look_up_carries_out_what_is_ready(fake, authority):
    order = await ordered(authority)
    made = await authority.find(order)
    assert [made] == fake.certificates()
    assert await authority.issue(order) == made


async def test_without_a_ticket_nothing_was_issued(authority):
    assert await authority.find(new_order(authority)) is None


async def test_an_order_that_the_server_has_forgotten_is_not_free(fake, authority):
    order = await ordered(authority)
    fake.orders.clear()
    assert not (await unavailable(authority.find(order))).nothing_issued


@pytest.mark.parametrize("status", ["ready", "processing", "valid"])
async def test_nobody_is_certain_once_the_csr_is_there(fake, authority, status):
    order = await ordered(authority)
    shown = fake.orders[order.ticket]
    fake.fault = "pending"
    with pytest.raises(Pending):
        await authority.issue(order)
    shown["status"] = status
    fake.says = {"finalize": Said("orderNotReady"), "certificate": Said("rateLimited")}
    if status == "valid":
        fake.finish(shown, "")
        error = await unavailable(authority.issue(order))
        assert (error.rule, error.nothing_issued) == ("ca.busy", False)
    elif status == "ready":
        assert not (await unavailable(authority.issue(order))).nothing_issued
    else:
        with pytest.raises(Pending):
            await authority.issue(order)
        assert (await unavailable(authority.find(order))).rule == "ca.pending"


async def test_nobody_is_certain_when_somebody_else_was_faster(fake, authority):
    order = await ordered(authority)
    fake.says["finalize"] = Said("orderNotReady")
    fake.after = {"finalize": ("order", Said("rateLimited"))}
    error = await unavailable(authority.issue(order))
    assert (error.rule, error.nothing_issued) == ("ca.busy", False)


async def test_a_limit_before_the_csr_is_there_is_certain(fake, authority):
    order = await ordered(authority)
    fake.says["finalize"] = Said("rateLimited", "too many")
    error = await unavailable(authority.issue(order))
    assert (error.rule, error.nothing_issued, error.retry_after) == ("ca.busy", True, 7)


async def test_an_order_that_ended_without_a_certificate(fake, authority):
    order = await ordered(authority)
    detail = {"type": "urn:ietf:params:acme:error:caa", "detail": "CAA forbids it"}
    fake.orders[order.ticket] |= {"status": "invalid", "error": detail}
    with pytest.raises(BackendRejected) as refused:
        await authority.issue(order)
    assert "CAA forbids it" in refused.value.hint
    assert await authority.find(order) is None


async def enrolled(fake, tmp_path, **settings):
    ledger = open_ledger(tmp_path)
    try:
        async with running(fake) as url:
            authority = here(fake, url, **settings)
            await authority.connect()
            row = await Desk(ledger, authority, MovedClock()).enroll()
            await authority.close()
            return row
    finally:
        await ledger.close()


async def test_a_server_that_decides_how_long(fake, tmp_path):
    row = await enrolled(fake, tmp_path, lifetime="30d")
    [order] = fake.orders.values()
    assert not {"notBefore", "notAfter"} & {*order}
    assert row.not_after - row.not_before == timedelta(days=30)


async def test_a_server_that_writes_no_subject(fake, tmp_path):
    fake.nameless = True
    assert (await enrolled(fake, tmp_path, subject="empty")).subject == ""


async def test_an_order_that_the_server_uses_again_is_not_carried_out_for_another_request(
    fake, authority, tmp_path
):
    fake.reuses = True
    ledger = open_ledger(tmp_path)
    desk = Desk(ledger, authority, MovedClock())
    first = desk.new_order()
    fake.says["finalize"] = Said("serverInternal", "nobody knows")
    assert not (await unavailable(desk.enroll(first))).nothing_issued
    second = named_alike(desk.new_order(), first)
    error = await unavailable(desk.enroll(second))
    assert (error.rule, error.nothing_issued) == ("ca.busy", True)
    assert (await desk.state(first), await desk.state(second)) == ("parked", "rejected")
    await desk.settle()
    assert await desk.state(first) == "issued"
    [made] = fake.certificates()
    assert made.public_key() == csr_of(first).public_key()
    await desk.enroll(named_alike(desk.new_order(), first))
    assert len(fake.certificates()) == 2
    await ledger.close()


def csr_of(order):
    return x509.load_der_x509_csr(order.ordered.csr)


def named_alike(order, other):
    """Return an order for a key of its own and another one's names."""
    plan = order_of(order).plan
    names = order_of(other).plan
    plan = replace(
        plan,
        subject=names.subject,
        subject_alternative_names=names.subject_alternative_names,
    )
    key = generate_key("EC-P256")
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    plan = replace(plan, spki=der)
    builder = x509.CertificateSigningRequestBuilder().subject_name(names.subject)
    san = x509.SubjectAlternativeName(names.subject_alternative_names)
    csr = builder.add_extension(san, critical=False).sign(key, SHA256())
    octets = csr.public_bytes(Encoding.DER)
    request = replace(order.request, plan=plan.as_json(), csr=octets)
    return replace(order, request=request, ordered=Ordered(octets, encode_names(plan)))


# --- who issues --------------------------------------------------------------------------------


async def test_an_issuing_ca_that_came_with_a_certificate_is_learned(fake):
    fake.chain = [fake.issuer.issuing.certificate]
    async with running(fake) as url:
        authority = here(fake, url, issuers=["root.pem"])
        await authority.connect()
        assert authority.certificates().issuer == fake.issuer.root.certificate
        await authority.issue(await ordered(authority))
        known = authority.certificates()
        assert known.issuer == fake.issuer.issuing.certificate
        assert known.chain == (fake.issuer.root.certificate,)
        await authority.close()
        assert here(fake, url, issuers=["root.pem"]).certificates() == known, "a file keeps it"


async def test_one_that_leads_to_no_configured_root_is_not(fake, authority, tmp_path):
    root = make_root("strangers", "EC-P256", lifetime=YEAR, now=NOW)
    issuing = make_issuing(root, "strangers", "EC-P256", lifetime=YEAR, now=NOW)
    leaf = fake.issuer.issuing.certificate
    fake.chain = [issuing.certificate, root.certificate, leaf]
    before = authority.certificates()
    await authority.issue(await ordered(authority))
    assert authority.certificates() == before
    assert not (tmp_path / "learned.pem").exists()


async def test_what_was_learned_and_can_not_be_kept_is_told(fake, tmp_path):
    async with running(fake) as url:
        authority = here(fake, url, issuers=["root.pem"], learned="folder/learned.pem")
        await authority.connect()
        (tmp_path / "folder").write_text("a file")
        assert await authority.issue(await ordered(authority)) in fake.certificates()
        health = await authority.health()
        assert (health.ok, "folder" in health.detail) == (False, True)
        (tmp_path / "folder").unlink()
        assert (await authority.health()).ok
        assert (tmp_path / "folder" / "learned.pem").exists()
        await authority.close()


def test_issuers_without_a_root(fake):
    with pytest.raises(BackendUnavailable, match="root") as caught:
        here(fake, "https://127.0.0.1:1/dir", issuers=["issuing.pem"])
    assert caught.value.rule == "ca.unusable"


# --- revocation --------------------------------------------------------------------------------


async def test_reasons(fake, authority):
    made = await authority.issue(await ordered(authority))
    await authority.revoke(made, "superseded")
    assert [asked["reason"] for name, asked in fake.asked if name == "revokeCert"] == [4]
    await authority.revoke(made, "superseded")  # alreadyRevoked


async def test_a_reason_that_the_server_does_not_take_is_left_out(fake, authority):
    made = await authority.issue(await ordered(authority))
    fake.says["revokeCert"] = Said("badRevocationReason")
    await authority.revoke(made, "privilegeWithdrawn")
    assert fake.certificates("revoked") == [made]
    asked = [asked for name, asked in fake.asked if name == "revokeCert"]
    assert "reason" in asked[0]
    assert "reason" not in asked[1]


async def test_what_can_not_be_revoked(fake, authority, tmp_path):
    other = FakeIssuer.in_folder(tmp_path).issuing.certificate
    with pytest.raises(BackendRejected, match=r"ca\.not-revoked"):
        await authority.revoke(other, "keyCompromise")
    fake.says["revokeCert"] = Said("rateLimited")
    assert (await unavailable(authority.revoke(other, "keyCompromise"))).rule == "ca.busy"


def test_nothing_secret_is_shown(fake):
    authority = here(fake, "https://127.0.0.1:1/dir")
    account = authority._session._account
    assert "secret" not in repr(account)
    assert "key=" not in repr(account.signer)

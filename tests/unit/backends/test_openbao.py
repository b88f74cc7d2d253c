"""OpenBao and Vault, over HTTP."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from fake_openbao import ONCE, FakeOpenBao, running
from pydantic import ValidationError

from backends.openbao import OpenBaoBackend, OpenBaoSettings
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.check import check_issued
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.ports.ca import BackendContext, IssuanceOrder

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - certificates that are valid now
OWN = frozenset({"serial", "validity", "extensions"})
APPROLE = {"approle": {"role_id": "est", "secret_id": "file:secret"}}


def order(common_name="router-1", *names):
    key = generate_key("EC-P256")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    plan = CertificatePlan(
        ca="bao",
        subject=subject,
        subject_alternative_names=names,
        spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_algorithm="EC-P256",
        not_before=NOW - timedelta(minutes=1),
        not_after=NOW + timedelta(days=30),
        key_usage=("digitalSignature",),
        extended_key_usage=("1.3.6.1.5.5.7.3.2",),
    )
    return IssuanceOrder(plan, 1, "token-1", csr.public_bytes(Encoding.DER), NOW)


@asynccontextmanager
async def opened(fake, folder, auth=APPROLE, **settings):
    (folder / "secret").write_text("s3cret\n")
    (folder / "jwt").write_text("pod")
    async with running(fake) as url:
        model = OpenBaoSettings.model_validate(
            {"url": url, "auth": auth, "role": "devices", "timeout": "5s", **settings}
        )
        context = BackendContext("bao", folder, lambda: NOW)
        authority = OpenBaoBackend().open(model, context)
        try:
            await authority.connect()
            yield authority
        finally:
            await authority.close()


async def test_a_certificate_as_ordered(tmp_path):
    fake = FakeOpenBao(tmp_path)
    names = (
        x509.DNSName("router-1.example.net"),
        x509.RFC822Name("noc@example.net"),
        x509.IPAddress(ip_address("192.0.2.7")),
        x509.UniformResourceIdentifier("urn:example:a,b"),
    )
    async with opened(fake, tmp_path) as bao:
        wanted = order("router-1", *names)
        certificate = await bao.issue(wanted)
        issuer = bao.certificates()
        check_issued(wanted.plan, certificate, issuer.issuer, serial_number=1, own=OWN)
        assert issuer.chain == (fake.issuer.root.certificate,)


@pytest.mark.parametrize(
    "auth",
    [
        APPROLE,
        {"kubernetes": {"role": "est", "token": "file:jwt"}},
    ],
)
async def test_a_token_that_ended_is_replaced(tmp_path, auth):
    fake = FakeOpenBao(tmp_path)
    async with opened(fake, tmp_path, auth) as bao:
        fake.logins.append("another")
        await bao.issue(order())
        assert len(fake.logins) == 3, "one login more"


async def test_a_token_in_a_file_is_read_again(tmp_path):
    fake = FakeOpenBao(tmp_path, logins=["hvs.first"])
    (tmp_path / "token").write_text("hvs.first\n")
    async with opened(fake, tmp_path, {"token": "file:token"}) as bao:
        fake.logins.append("hvs.second")
        with pytest.raises(BackendUnavailable) as caught:
            await bao.issue(order())
        assert caught.value.rule == "ca.forbidden"
        assert caught.value.nothing_issued
        (tmp_path / "token").write_text("hvs.second\n")
        await bao.issue(order())


async def test_namespaces(tmp_path):
    async with opened(FakeOpenBao(tmp_path, namespace="iot"), tmp_path, namespace="iot") as bao:
        await bao.issue(order())


@pytest.mark.parametrize(
    ("fault", "rule", "nothing_issued"),
    [
        ("sealed", "ca.unavailable", True),
        ("standby", "ca.unavailable", True),
        ("redirect", "ca.unavailable", True),
        ("proxy", "ca.unavailable", False),
        ("throttle", "ca.busy", True),
        ("lost-reply", "ca.no-answer", False),
        ("broken", "ca.no-answer", False),
    ],
)
async def test_what_may_have_been_issued(tmp_path, fault, rule, nothing_issued):
    fake = FakeOpenBao(tmp_path)
    async with opened(fake, tmp_path) as bao:
        fake.fault = fault
        with pytest.raises(BackendUnavailable) as caught:
            await bao.issue(order())
        assert (caught.value.rule, caught.value.nothing_issued) == (rule, nothing_issued)
        assert bool(fake.certificates()) <= (not nothing_issued)
        assert (await bao.health()).ok == (fault in ONCE)
        fake.fault = ""
        assert (await bao.health()).ok
        await bao.issue(order())


async def test_nobody_there(tmp_path):
    async with opened(FakeOpenBao(tmp_path), tmp_path) as bao:
        bao._remote.url = "http://127.0.0.1:1"
        with pytest.raises(BackendUnavailable) as caught:
            await bao.issue(order())
        assert (caught.value.rule, caught.value.nothing_issued) == ("ca.unreachable", True)


async def test_the_roles_own_verdict(tmp_path):
    async with opened(FakeOpenBao(tmp_path), tmp_path) as bao:
        with pytest.raises(BackendRejected) as caught:
            await bao.issue(order("denied-1"))
        assert caught.value.rule == "ca.refused"
        assert "denied-1" not in caught.value.message, "the device is told nothing internal"
        assert "not allowed by this role" in caught.value.hint


async def test_revoking_twice_and_what_is_not_its_own(tmp_path):
    fake = FakeOpenBao(tmp_path)
    async with opened(fake, tmp_path) as bao:
        certificate = await bao.issue(order())
        await bao.revoke(certificate, "keyCompromise")
        await bao.revoke(certificate, "keyCompromise")
        assert len(fake.certificates("revoked")) == 1
        with pytest.raises(BackendRejected) as caught:
            await bao.revoke(fake.issuer.issuing.certificate, "superseded")
        assert caught.value.rule == "ca.not-revoked"


async def test_two_common_names_are_not_asked_for(tmp_path):
    two = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in ("a", "b")])
    wanted = order()
    fake = FakeOpenBao(tmp_path)
    async with opened(fake, tmp_path) as bao:
        with pytest.raises(BackendRejected, match="one common name"):
            await bao.issue(replace(wanted, plan=replace(wanted.plan, subject=two)))
        assert not fake.asked


async def test_a_wrong_secret(tmp_path):
    with pytest.raises(BackendUnavailable) as caught:
        async with opened(
            FakeOpenBao(tmp_path),
            tmp_path,
            {"approle": {"role_id": "x", "secret_id": "file:secret"}},
        ):
            pass
    assert caught.value.rule == "ca.login"
    assert "invalid role or secret ID" in caught.value.hint
    assert "s3cret" not in str(caught.value.hint)


@pytest.mark.parametrize("auth", [{}, {"token": "file:a", **APPROLE}])
def test_exactly_one_login(auth):
    with pytest.raises(ValidationError, match="exactly one"):
        OpenBaoSettings.model_validate({"url": "https://bao", "auth": auth, "role": "r"})

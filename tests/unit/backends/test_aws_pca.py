"""AWS Private CA, through the SDK and a server of its protocol."""

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
from fake_aws_pca import ARN, FakeAwsPca, running

from backends.aws_pca import AwsPcaBackend, AwsPcaSettings
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.check import check_issued
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.ports.ca import BackendContext, IssuanceOrder

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - certificates that are valid now
PLAIN = "arn:aws:acm-pca:::template/EndEntityClientAuthCertificate/V1"
NAMES = (
    x509.DNSName("router-1.example.net"),
    x509.IPAddress(ip_address("2001:db8::7")),
    x509.RFC822Name("noc@example.net"),
    x509.UniformResourceIdentifier("urn:example:1"),
)


@pytest.fixture(autouse=True)
def _credentials(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def order(*names):
    key = generate_key("EC-P256")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Example"),
            x509.NameAttribute(NameOID.COMMON_NAME, "router-1"),
            x509.NameAttribute(NameOID.SERIAL_NUMBER, "SN-1"),
        ]
    )
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    plan = CertificatePlan(
        ca="aws",
        subject=subject,
        subject_alternative_names=names,
        spki=key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        key_algorithm="EC-P256",
        not_before=NOW,
        not_after=NOW + timedelta(days=30),
        key_usage=("digitalSignature", "contentCommitment"),
        extended_key_usage=("1.3.6.1.5.5.7.3.2", "1.2.3.4"),
        certificate_policies=("1.2.3.5",),
    )
    return IssuanceOrder(plan, 1, "token-1", csr.public_bytes(Encoding.DER), NOW)


@asynccontextmanager
async def opened(fake, **settings):
    async with running(fake) as url:
        model = AwsPcaSettings.model_validate(
            {"arn": ARN, "endpoint": url, "timeout": "5s", **settings}
        )
        authority = AwsPcaBackend().open(model, BackendContext("aws", fake.folder, lambda: NOW))
        try:
            await authority.connect()
            yield authority
        finally:
            await authority.close()


async def test_subject_and_extensions_of_the_plan(tmp_path):
    fake, wanted = FakeAwsPca(tmp_path), order(*NAMES)
    async with opened(fake) as aws:
        certificate = await aws.issue(wanted)
        issuer = aws.certificates()
        own = aws.capabilities.own
        check_issued(wanted.plan, certificate, issuer.issuer, serial_number=1, own=own)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.digital_signature
        assert usage.content_commitment
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert [one.dotted_string for one in purposes] == [*wanted.plan.extended_key_usage]
        policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
        assert [one.policy_identifier.dotted_string for one in policies] == ["1.2.3.5"]
        assert issuer.chain == (fake.issuer.root.certificate,)


async def test_a_template_without_passthrough_is_told_nothing(tmp_path):
    fake = FakeAwsPca(tmp_path)
    async with opened(fake, template=PLAIN) as aws:
        await aws.issue(order())
    assert "ApiPassthrough" not in fake.asked[0]
    assert fake.asked[0]["TemplateArn"] == PLAIN


async def test_the_same_token_is_the_same_certificate(tmp_path):
    fake, wanted = FakeAwsPca(tmp_path), order()
    async with opened(fake) as aws:
        first = await aws.issue(wanted)
        assert await aws.issue(wanted) == first
        other = await aws.issue(replace(wanted, idempotency_token="token-2"))
        assert other != first


@pytest.mark.parametrize(
    ("fault", "rule", "nothing_issued"),
    [
        ("throttle", "ca.busy", True),
        ("denied", "ca.forbidden", True),
        ("lost-reply", "ca.no-answer", False),
        ("unavailable", "ca.no-answer", False),
    ],
)
async def test_what_may_have_been_issued(tmp_path, fault, rule, nothing_issued):
    fake = FakeAwsPca(tmp_path)
    async with opened(fake) as aws:
        fake.fault = fault
        with pytest.raises(BackendUnavailable) as caught:
            await aws.issue(order())
        assert (caught.value.rule, caught.value.nothing_issued) == (rule, nothing_issued)
        assert len(fake.asked) <= 1, "the SDK retries no order"


async def test_a_certificate_that_can_not_be_fetched_may_exist(tmp_path):
    fake = FakeAwsPca(tmp_path)
    async with opened(fake) as aws:
        certificate = fake._certificate
        fake._certificate = lambda request, body: (
            certificate(request, {"CertificateArn": f"{ARN}/certificate/0"}) and None
        )
        with pytest.raises(BackendUnavailable) as caught:
            await aws.issue(order())
        assert not caught.value.nothing_issued


async def test_a_ca_that_is_disabled(tmp_path):
    fake = FakeAwsPca(tmp_path)
    async with opened(fake) as aws:
        assert (await aws.health()).ok
        fake.state = "DISABLED"
        health = await aws.health()
        assert (health.ok, "DISABLED" in health.detail) == (False, True)
        with pytest.raises(BackendUnavailable) as caught:
            await aws.issue(order())
        assert caught.value.nothing_issued


async def test_no_credentials(tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(BackendUnavailable) as caught:
        async with opened(FakeAwsPca(tmp_path)):
            pass
    assert caught.value.rule == "ca.login"


async def test_revoking_twice_and_what_it_does_not_know(tmp_path):
    fake = FakeAwsPca(tmp_path)
    async with opened(fake) as aws:
        certificate = await aws.issue(order())
        await aws.revoke(certificate, "keyCompromise")
        await aws.revoke(certificate, "keyCompromise")
        assert len(fake.certificates("revoked")) == 1
        with pytest.raises(BackendRejected) as caught:
            await aws.revoke(fake.issuer.root.certificate, "superseded")
        assert caught.value.rule == "ca.not-revoked"


@pytest.mark.parametrize(
    ("template", "writes"),
    [
        ("BlankEndEntityCertificate_APIPassthrough/V1", set()),
        (
            "EndEntityCertificate/V1",
            {"digitalSignature", "keyEncipherment", "1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"},
        ),
        (
            "EndEntityClientAuthCertificate_APIPassthrough/V1",
            {"digitalSignature", "keyEncipherment", "1.3.6.1.5.5.7.3.2"},
        ),
        (
            "EndEntityServerAuthCertificate_CSRPassthrough/V1",
            {"digitalSignature", "keyEncipherment", "1.3.6.1.5.5.7.3.1"},
        ),
        ("CodeSigningCertificate/V1", {"digitalSignature", "1.3.6.1.5.5.7.3.3"}),
    ],
)
def test_what_a_template_writes_is_declared(template, writes):
    settings = AwsPcaSettings(arn=ARN, template=f"arn:aws:acm-pca:::template/{template}")
    can = AwsPcaBackend().capabilities(settings)
    assert can.writes == writes
    assert can.certificate_policies == ("APIPassthrough" in template)

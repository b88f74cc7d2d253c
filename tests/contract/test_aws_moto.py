"""AWS Private CA as moto has it: the SDK, its endpoint and its names, against another's server."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from moto_pca import CREDENTIALS, END_ENTITY, SIGNS, running

from backends.aws_pca import AwsPcaBackend, AwsPcaSettings
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.authority import make_root
from est_server.pki.check import check_issued
from est_server.pki.keys import generate_key
from est_server.ports.ca import BackendContext, IssuanceOrder
from est_server.testing.desk import plan_for

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - certificates that are valid now
YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def moto():
    with pytest.MonkeyPatch.context() as patch, running() as made:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture(scope="module")
def under():
    return make_root("Example root", "EC-P256", lifetime=10 * YEAR, now=NOW)


@pytest.fixture(scope="module")
def arn(moto, under):
    return moto.new_ca("Example issuing CA", under)


@asynccontextmanager
async def opened(moto, arn, tmp_path, *, connected=True, **settings):
    settings = {"template": END_ENTITY, "signing_algorithm": SIGNS, **settings}
    model = AwsPcaSettings.model_validate(
        {"arn": arn, "endpoint": moto.url, "timeout": "10s", **settings}
    )
    authority = AwsPcaBackend().open(model, BackendContext("aws", tmp_path, lambda: NOW))
    try:
        if connected:
            await authority.connect()
        yield authority
    finally:
        await authority.close()


def order(authority):
    """Return an order for what moto makes of its one template."""
    key = generate_key("EC-P256")
    plan = replace(
        plan_for(authority, key, NOW),
        not_after=NOW + YEAR + timedelta(hours=1),
        key_usage=("digitalSignature", "keyEncipherment"),
        extended_key_usage=("1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"),
    )
    names = x509.SubjectAlternativeName(plan.subject_alternative_names)
    csr = x509.CertificateSigningRequestBuilder().subject_name(plan.subject)
    signed = csr.add_extension(names, critical=False).sign(key, hashes.SHA256())
    return IssuanceOrder(plan, 1, "token", signed.public_bytes(Encoding.DER), NOW)


def check(authority, wanted, made):
    check_issued(
        wanted.plan, made, authority.certificates().issuer, serial_number=wanted.serial_number,
        own=authority.capabilities.own,
    )  # fmt: skip


async def test_what_is_ordered_comes_back(moto, arn, under, tmp_path):
    async with opened(moto, arn, tmp_path) as authority:
        found = authority.certificates()
        assert found.issuer == moto.records(arn).certificate
        assert found.chain == (under.certificate,)
        health = await authority.health()
        assert (health.ok, arn in health.detail) == (True, True)
        wanted = order(authority)
        made = await authority.issue(wanted)
    check(authority, wanted, made)


async def test_a_revocation_arrives_and_twice_is_once(moto, arn, tmp_path):
    async with opened(moto, arn, tmp_path) as authority:
        made = await authority.issue(order(authority))
        await authority.revoke(made, "keyCompromise")
        await authority.revoke(made, "keyCompromise")
    kept = moto.records(arn).revoked_certificates
    serials = {int(text.replace(":", ""), 16): one for text, one in kept.items()}
    assert serials[made.serial_number]["revocation_reason"] == "KEY_COMPROMISE"


async def test_what_moto_makes_of_an_unknown_template_is_refused(moto, arn, tmp_path):
    # with API passthrough the service follows the plan; moto leaves all of it out
    blank = AwsPcaSettings.model_fields["template"].default
    async with opened(moto, arn, tmp_path, template=blank) as authority:
        wanted = order(authority)
        made = await authority.issue(wanted)
    with pytest.raises(BackendRejected) as refused:
        check(authority, wanted, made)
    assert refused.value.rule == "issued.usage"


async def test_what_outlives_its_issuer_is_refused(moto, tmp_path):
    # moto's own roots end in a year, and so does everything that they issue, a second later
    root = moto.new_ca("Example root of its own")
    async with opened(moto, root, tmp_path) as authority:
        assert authority.certificates().chain == ()
        ends = authority.certificates().issuer.not_valid_after_utc
        made, until = None, time.monotonic() + 20
        while made is None or made.not_valid_after_utc <= ends:
            assert time.monotonic() < until
            wanted = order(authority)
            made = await authority.issue(wanted)
    with pytest.raises(BackendRejected) as refused:
        check(authority, wanted, made)
    assert refused.value.rule == "issued.validity"


async def test_what_is_wrong_is_named(moto, arn, tmp_path):
    nobody = arn[:-1] + ("0" if arn[-1] != "0" else "1")
    async with opened(moto, nobody, tmp_path, connected=False) as authority:
        with pytest.raises(BackendUnavailable) as unknown:
            await authority.connect()
        health = await authority.health()
    assert (unknown.value.rule, unknown.value.nothing_issued) == ("ca.misconfigured", True)
    assert not health.ok
    assert nobody in health.detail
    async with opened(moto, arn, tmp_path) as authority:
        moto.stop()
        try:
            with pytest.raises(BackendUnavailable) as away:
                await authority.issue(order(authority))
            health = await authority.health()
        finally:
            moto.start()
        assert (await authority.health()).ok, "it is back"
        await authority.issue(order(authority))
    assert (away.value.rule, away.value.nothing_issued) == ("ca.unreachable", True)
    assert not health.ok

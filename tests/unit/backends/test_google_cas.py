"""Google's Certificate Authority Service, over gRPC."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import google.auth
import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from fake_google_cas import POOL, FakeGoogleCas, plan_of, running
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from google.auth.transport.grpc import AuthMetadataPlugin
from google.cloud.security import privateca_v1 as cas
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backends import google_calls
from backends.google_calls import Calls
from backends.google_cas import GoogleCasBackend, GoogleCasSettings
from backends.google_plan import certificate_config, create_request, pool_certificates
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.check import check_issued
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.pki.usages import KEY_USAGES
from est_server.ports.ca import BackendContext, IssuanceOrder

NOW = datetime.now(UTC).replace(microsecond=0)  # noqa: TID251 - certificates that are valid now
OWN = frozenset({"serial", "validity", "extensions"})
CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"
SPKI = generate_key("EC-P256").public_key().public_bytes(
    Encoding.DER, PublicFormat.SubjectPublicKeyInfo
)  # fmt: skip
Code = grpc.StatusCode


def order(**changes):
    plan = CertificatePlan(
        ca="pool",
        subject=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "router-1")]),
        subject_alternative_names=(),
        spki=SPKI,
        key_algorithm="EC-P256",
        not_before=NOW - timedelta(minutes=1),
        not_after=NOW + timedelta(days=30),
        key_usage=("digitalSignature",),
        extended_key_usage=(CLIENT_AUTH,),
    )
    return IssuanceOrder(replace(plan, **changes), 1, "r_token-1", b"not a CSR", NOW)


class Clock:
    now = NOW

    def __call__(self):
        return self.now


@asynccontextmanager
async def opened(fake, clock=None, **settings):
    async with running(fake) as port:
        model = GoogleCasSettings.model_validate(
            {
                "pool": POOL,
                "endpoint": f"127.0.0.1:{port}",
                "insecure": True,
                "timeout": "5s",
                **settings,
            }
        )
        context = BackendContext("pool", fake.folder, clock or Clock())
        authority = GoogleCasBackend().open(model, context)
        try:
            await authority.connect()
            yield authority
        finally:
            await authority.close()


async def test_a_certificate_as_ordered_and_nothing_of_the_csr(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    wanted = order(
        subject_alternative_names=(
            x509.DNSName("router-1.example.net"),
            x509.IPAddress(ip_address("2001:db8::7")),
            x509.RFC822Name("noc@example.net"),
            x509.UniformResourceIdentifier("urn:example:a,b"),
        ),
    )
    template = "projects/example/locations/europe-west1/certificateTemplates/device"
    async with opened(fake, template=template) as pool:
        certificate = await pool.issue(wanted)
        known = pool.certificates()
        issuer = next(
            one
            for one in (known.issuer, *known.others)
            if one == fake.issuers[0].issuing.certificate
        )
        check_issued(
            wanted.plan, certificate, issuer, serial_number=1, own=OWN, late=timedelta(hours=1)
        )
    [asked] = fake.asked
    assert b"not a CSR" not in cas.CreateCertificateRequest.serialize(asked)
    assert asked.certificate.certificate_template == template


async def test_every_issuer_of_the_pool_is_known(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        known = pool.certificates()
        issuers = {one.issuing.certificate: one.root.certificate for one in fake.issuers}
        assert known.chain == (issuers.pop(known.issuer),)
        [(other, root)] = issuers.items()
        assert known.others == (other, root)


async def test_a_pool_without_a_ca(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    fake.issuers = []
    with pytest.raises(BackendUnavailable, match=r"ca\.issuer|can't be asked"):
        async with opened(fake):
            pass
    assert pool_certificates([]) is None


async def test_a_pool_that_keeps_no_certificates_is_refused(tmp_path):
    with pytest.raises(BackendUnavailable) as refused:
        async with opened(FakeGoogleCas(tmp_path, tier="DEVOPS")):
            pass
    assert refused.value.rule == "ca.misconfigured"
    assert "Enterprise" in str(refused.value.hint)


@pytest.mark.parametrize(
    ("code", "rule", "sure"),
    [
        (Code.RESOURCE_EXHAUSTED, "ca.busy", True),
        (Code.PERMISSION_DENIED, "ca.forbidden", True),
        (Code.UNAUTHENTICATED, "ca.forbidden", True),
        (Code.NOT_FOUND, "ca.misconfigured", True),
        (Code.UNIMPLEMENTED, "ca.misconfigured", True),
        (Code.UNAVAILABLE, "ca.no-answer", False),
        (Code.DEADLINE_EXCEEDED, "ca.no-answer", False),
        (Code.ABORTED, "ca.no-answer", False),
        (Code.INTERNAL, "ca.no-answer", False),
        (Code.UNKNOWN, "ca.no-answer", False),
        (Code.CANCELLED, "ca.no-answer", False),
        (Code.DATA_LOSS, "ca.no-answer", False),
        (Code.INVALID_ARGUMENT, "ca.refused", None),
        (Code.FAILED_PRECONDITION, "ca.refused", None),
    ],
)
async def test_what_a_status_means(tmp_path, code, rule, sure):
    fake = FakeGoogleCas(tmp_path, statuses={"CreateCertificate": code})
    async with opened(fake) as pool:
        with pytest.raises((BackendRejected, BackendUnavailable)) as failed:
            await pool.issue(order())
        error = failed.value
        assert error.rule == rule
        assert isinstance(error, BackendRejected) is (sure is None)
        assert getattr(error, "nothing_issued", None) is sure
        assert code.name in str(error.hint)
        assert POOL not in error.message


@pytest.mark.parametrize("fault", ["long", "broken"])
async def test_an_answer_that_is_no_certificate_is_no_answer(tmp_path, fault):
    fake = FakeGoogleCas(tmp_path, fault=fault)
    async with opened(fake) as pool:
        with pytest.raises(BackendUnavailable) as failed:
            await pool.issue(order())
        assert failed.value.rule == "ca.no-answer"
        assert not failed.value.nothing_issued
        assert await pool.find(order()) == fake.certificates()[0]


async def test_nobody_sends_an_order_twice(tmp_path):
    fake = FakeGoogleCas(tmp_path, fault="lost-reply")
    async with opened(fake) as pool:
        with pytest.raises(BackendUnavailable):
            await pool.issue(order())
    assert len(fake.asked) == 1


async def test_the_same_order_is_the_same_call(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        first = await pool.issue(order())
        fake.answered.clear()  # an hour later only the id is known
        assert await pool.issue(order()) == first
        other = replace(order(), idempotency_token="r_token-2")
        assert await pool.issue(other) != first
    assert fake.asked[0] == fake.asked[1]
    assert fake.asked[0].request_id != fake.asked[2].request_id


@pytest.mark.parametrize("code", [Code.PERMISSION_DENIED, Code.INVALID_ARGUMENT, Code.NOT_FOUND])
async def test_what_exists_and_cannot_be_fetched_may_have_been_issued(tmp_path, code):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        await pool.issue(order())
        fake.answered.clear()
        fake.statuses["GetCertificate"] = code
        with pytest.raises(BackendUnavailable) as failed:
            await pool.issue(order())
        assert not failed.value.nothing_issued


async def test_what_exists_and_is_out_of_reach_may_have_been_issued(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        await pool.issue(order())
        fake.answered.clear()
        asked = pool._calls.call

        async def call(operation, request):
            if operation == "get_certificate":
                raise pool._calls.unavailable("ca.unreachable", "gone", nothing_issued=True)
            return await asked(operation, request)

        pool._calls.call = call
        with pytest.raises(BackendUnavailable) as failed:
            await pool.issue(order())
        assert failed.value.rule == "ca.unreachable"
        assert not failed.value.nothing_issued


async def test_what_was_not_issued_is_certain_after_a_while_only(tmp_path):
    clock, fake = Clock(), FakeGoogleCas(tmp_path)
    async with opened(fake, clock) as pool:
        for waited in (timedelta(0), timedelta(minutes=59)):
            clock.now = NOW + waited
            with pytest.raises(BackendUnavailable) as unsure:
                await pool.find(order())
            assert not unsure.value.nothing_issued
        clock.now = NOW + timedelta(minutes=61)
        assert await pool.find(order()) is None
        await pool.issue(order())
        assert await pool.find(order()) == fake.certificates()[0]


@pytest.mark.parametrize("code", [Code.NOT_FOUND, Code.PERMISSION_DENIED, Code.UNAVAILABLE])
async def test_a_pool_that_cannot_be_read_proves_nothing(tmp_path, code):
    clock, fake = Clock(), FakeGoogleCas(tmp_path)
    async with opened(fake, clock) as pool:
        clock.now = NOW + timedelta(days=1)
        fake.statuses["FetchCaCerts"] = code
        with pytest.raises(BackendUnavailable):
            await pool.find(order())


async def test_a_server_that_is_away_and_back(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with running(fake) as port:
        pass
    settings = {"pool": POOL, "endpoint": f"127.0.0.1:{port}", "insecure": True, "timeout": "5s"}
    model = GoogleCasSettings.model_validate(settings)
    pool = GoogleCasBackend().open(model, BackendContext("pool", tmp_path, Clock()))
    for _ in range(2):
        with pytest.raises(BackendUnavailable) as away:
            await pool.issue(order())
        assert away.value.rule == "ca.unreachable"
        assert away.value.nothing_issued
    async with running(fake, port):
        await pool.issue(order())
    await pool.close()


async def test_a_server_that_never_answers_a_connection(tmp_path):
    server = socket.create_server(("127.0.0.1", 0))
    port = server.getsockname()[1]
    settings = {"pool": POOL, "endpoint": f"127.0.0.1:{port}", "insecure": True, "timeout": "1s"}
    model = GoogleCasSettings.model_validate(settings)
    pool = GoogleCasBackend().open(model, BackendContext("pool", tmp_path, Clock()))
    try:
        with pytest.raises(BackendUnavailable) as away:
            await pool.issue(order())
        assert away.value.nothing_issued
    finally:
        await pool.close()
        server.close()


async def test_revoked_once_with_its_reason(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        certificate = await pool.issue(order())
        await pool.revoke(certificate, "keyCompromise")
        fake.statuses["RevokeCertificate"] = Code.INTERNAL  # nobody asks again
        await pool.revoke(certificate, "keyCompromise")
        [kept] = fake.kept.values()
        assert kept.revocation_details.revocation_state == cas.RevocationReason.KEY_COMPROMISE


async def test_a_revocation_that_another_process_made_meanwhile(tmp_path):
    fake = FakeGoogleCas(tmp_path)
    async with opened(fake) as pool:
        certificate = await pool.issue(order())
        unmarked = await pool._named(certificate)
        [kept] = fake.kept.values()
        kept.revocation_details = cas.Certificate.RevocationDetails(revocation_state=1)
        seen = iter([unmarked, kept])

        async def named(_):
            return next(seen)

        pool._named = named
        await pool.revoke(certificate, "superseded")
        assert not list(seen), "it looked again"


async def test_a_revocation_that_the_service_refuses(tmp_path):
    fake = FakeGoogleCas(tmp_path, statuses={"RevokeCertificate": Code.FAILED_PRECONDITION})
    async with opened(fake) as pool:
        certificate = await pool.issue(order())
        with pytest.raises(BackendRejected) as refused:
            await pool.revoke(certificate, "superseded")
        assert refused.value.rule == "ca.not-revoked"
        fake.statuses["RevokeCertificate"] = Code.PERMISSION_DENIED
        with pytest.raises(BackendUnavailable) as forbidden:
            await pool.revoke(certificate, "superseded")
        assert forbidden.value.rule == "ca.forbidden"


async def test_a_certificate_that_is_not_in_the_list(tmp_path):
    clock, fake = Clock(), FakeGoogleCas(tmp_path)
    async with opened(fake, clock) as pool:
        certificate = await pool.issue(order())
        fake.lists = False  # lists may lag
        with pytest.raises(BackendUnavailable):
            await pool.revoke(certificate, "superseded")
        clock.now = NOW + timedelta(hours=1)
        with pytest.raises(BackendRejected) as refused:
            await pool.revoke(certificate, "superseded")
        assert refused.value.rule == "ca.not-revoked"


async def test_health(tmp_path):
    fake = FakeGoogleCas(tmp_path, states=("ENABLED", "STAGED"))
    async with opened(fake) as pool:
        health = await pool.health()
        assert (health.ok, health.detail) == (True, f"{POOL}: 1 CAs are enabled")
        fake.states = ("DISABLED", "STAGED")
        assert not (await pool.health()).ok
        fake.statuses["ListCertificateAuthorities"] = Code.PERMISSION_DENIED
        health = await pool.health()
        assert not health.ok
        assert "PERMISSION_DENIED" in health.detail


async def test_without_credentials_nothing_is_sent(tmp_path, monkeypatch):
    def default(**_):
        raise DefaultCredentialsError("no credentials were found")

    monkeypatch.setattr(google.auth, "default", default)
    calls = Calls("pool", "127.0.0.1:1", insecure=False, timeout=timedelta(seconds=1))
    with pytest.raises(BackendUnavailable) as failed:
        await calls.call("get_ca_pool", cas.GetCaPoolRequest(name=POOL))
    assert failed.value.rule == "ca.login"
    assert failed.value.nothing_issued


async def test_without_an_access_token_nothing_is_sent(tmp_path):
    """gRPC's own word for it, by a channel with credentials that can't be refreshed."""

    class Expired:
        def before_request(self, *_):
            raise RefreshError("the refresh token is gone")

    fake = FakeGoogleCas(tmp_path)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((fake.handler(),))
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    await server.start()
    plugin = grpc.metadata_call_credentials(AuthMetadataPlugin(Expired(), None))
    both = grpc.composite_channel_credentials(grpc.local_channel_credentials(), plugin)
    context = BackendContext("pool", tmp_path, Clock())
    settings = GoogleCasSettings.model_validate(
        {"pool": POOL, "endpoint": f"127.0.0.1:{port}", "insecure": True, "timeout": "5s"}
    )
    pool = GoogleCasBackend().open(settings, context)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            grpc.aio,
            "insecure_channel",
            lambda target, options: grpc.aio.secure_channel(target, both, options=options),
        )
        with pytest.raises(BackendUnavailable) as failed:
            await pool.issue(order())
    await pool.close()
    await server.stop(None)
    assert failed.value.rule == "ca.login", failed.value.hint
    assert failed.value.nothing_issued
    assert not fake.asked


def test_a_status_without_a_code_is_no_answer():
    calls = Calls("pool", "127.0.0.1:1", insecure=True, timeout=timedelta(seconds=1))
    failure = calls.failure(GoogleAPICallError("nobody knows"))
    assert isinstance(failure, BackendUnavailable)
    assert not failure.nothing_issued


@pytest.mark.parametrize(
    "settings",
    [
        {"pool": "devices"},
        {"pool": POOL, "insecure": True},
        {"pool": POOL, "insecure": True, "endpoint": "192.0.2.1:443"},
        {"pool": POOL, "insecure": True, "endpoint": "localhost.example.net:443"},
        {"pool": POOL, "endpoint": "https://privateca.googleapis.com"},
        {"pool": POOL, "template": POOL},
        {"pool": POOL, "password": "x"},
    ],
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(ValidationError):
        GoogleCasSettings.model_validate(settings)


def test_a_private_endpoint_gets_tls_and_credentials(monkeypatch):
    settings = GoogleCasSettings.model_validate({"pool": POOL, "endpoint": "cas.example.internal"})
    asked = {}

    def create_channel(target, credentials, options):
        asked.update(target=target, credentials=credentials)
        raise OSError("seen")

    monkeypatch.setattr(google.auth, "default", lambda scopes: ("ours", "project"))
    monkeypatch.setattr(
        google_calls.transports.CertificateAuthorityServiceGrpcAsyncIOTransport,
        "create_channel",
        create_channel,
    )
    calls = Calls("p", settings.endpoint, insecure=False, timeout=timedelta(seconds=1))
    with pytest.raises(OSError, match="seen"):
        asyncio.run(calls.call("get_ca_pool", cas.GetCaPoolRequest(name=POOL)))
    assert asked == {"target": "cas.example.internal:443", "credentials": "ours"}


def test_a_life_that_ends_by_any_clock():
    wanted = order()
    request = create_request(wanted, POOL, None)
    assert request.certificate.lifetime == timedelta(days=30, minutes=-1)
    short = replace(wanted, plan=replace(wanted.plan, not_after=NOW + timedelta(minutes=1)))
    with pytest.raises(BackendRejected) as refused:
        create_request(short, POOL, None)
    assert refused.value.rule == "ca.plan"


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=16
)
ATTRIBUTES = st.sampled_from(
    [
        NameOID.COMMON_NAME,
        NameOID.ORGANIZATION_NAME,
        NameOID.SERIAL_NUMBER,
        NameOID.DN_QUALIFIER,
        NameOID.STREET_ADDRESS,
        x509.ObjectIdentifier("1.3.6.1.4.1.32473.1"),
    ]
)
OIDS = st.lists(st.integers(1, 2**31 - 1), min_size=1, max_size=6).map(
    lambda arcs: "1.3." + ".".join(map(str, arcs))
)
PURPOSES = st.one_of(OIDS, st.sampled_from([CLIENT_AUTH, "1.3.6.1.5.5.7.3.9"]))
NAMES = st.one_of(
    st.ip_addresses().map(x509.IPAddress),
    st.from_regex(r"\A[a-z]{1,9}\.example\Z").map(x509.DNSName),
    st.from_regex(r"\A[a-z]{1,9}@a\.example\Z").map(x509.RFC822Name),
    st.from_regex(r"\Aurn:[a-z]{2,9}:[a-z,;]{1,9}\Z").map(x509.UniformResourceIdentifier),
)


@given(
    rdns=st.lists(
        st.lists(st.tuples(ATTRIBUTES, TEXT), min_size=1, max_size=2, unique_by=lambda one: one[0]),
        max_size=4,
    ),
    names=st.lists(NAMES, max_size=5, unique=True),
    usages=st.lists(st.sampled_from(KEY_USAGES), unique=True),
    purposes=st.lists(PURPOSES, max_size=4, unique=True),
    policies=st.lists(OIDS, max_size=3, unique=True),
)
def test_a_plan_arrives_whole(rdns, names, usages, purposes, policies):
    subject = x509.Name(
        [
            x509.RelativeDistinguishedName(
                [x509.NameAttribute(*one, _validate=False) for one in rdn]
            )
            for rdn in rdns
        ]
    )
    plan = replace(
        order().plan,
        subject=subject,
        subject_alternative_names=tuple(names),
        key_usage=tuple(usages),
        extended_key_usage=tuple(purposes),
        certificate_policies=tuple(policies),
    )
    wire = cas.CertificateConfig.serialize(certificate_config(plan))
    read = plan_of(
        cas.Certificate(
            config=cas.CertificateConfig.deserialize(wire),
            lifetime=timedelta(days=1),
            subject_mode=cas.SubjectRequestMode.RDN_SEQUENCE,
        )
    )
    assert read.subject == plan.subject
    assert set(read.subject_alternative_names) == set(names)
    assert set(read.key_usage) == set(usages)
    assert set(read.extended_key_usage) == set(purposes)
    assert read.certificate_policies == tuple(policies)
    assert read.spki == plan.spki


def test_a_name_that_the_service_has_no_word_for():
    plan = replace(
        order().plan,
        subject_alternative_names=(x509.RegisteredID(x509.ObjectIdentifier("1.3.6.1")),),
    )
    with pytest.raises(TypeError):
        certificate_config(plan)

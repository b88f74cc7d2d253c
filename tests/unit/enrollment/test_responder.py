"""A responder's certificate is in the ledger before anybody has it, whatever CA makes it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID

from backends.soft import SoftAuthority
from est_server.enrollment.responder import RESPONDER, issue_responder
from est_server.errors import BackendRejected, BackendUnavailable
from est_server.pki.authority import make_issuing, make_root
from est_server.pki.keys import generate_key
from est_server.pki.plan import CertificatePlan
from est_server.pki.usages import OCSP_SIGNING
from est_server.ports.ca import CaCertificates, Capabilities
from est_server.storage.schema import upgrade_schema
from est_server.storage.sqlite import SqliteLedger

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
KEY = generate_key("EC-P256")


class Elsewhere(SoftAuthority):
    """A CA whose signatures may exist although nobody heard of them."""

    failure: Exception | None = None
    asked_when_reserved = False
    ledger: SqliteLedger

    @property
    def capabilities(self):
        return Capabilities()

    async def issue(self, order):
        self.asked_when_reserved = [one.id for one in await self.ledger.unsettled()] == [
            order.idempotency_token
        ]
        if self.failure is not None:
            raise self.failure
        return await super().issue(order)


@pytest.fixture
async def ledger(tmp_path):
    upgrade_schema(tmp_path / "ledger.db")
    found = SqliteLedger(tmp_path / "ledger.db")
    yield found
    await found.close()


def authority(kind, ledger):
    root = make_root("root", "EC-P256", lifetime=timedelta(days=900), now=NOW)
    issuing = make_issuing(root, "issuing", "EC-P256", lifetime=timedelta(days=800), now=NOW)
    made = kind(issuing.key, CaCertificates(issuing.certificate, (root.certificate,)))
    made.ledger = ledger
    return made


PLAN = CertificatePlan(
    ca="issuing",
    subject=x509.Name.from_rfc4514_string("CN=responder"),
    subject_alternative_names=(),
    spki=KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    key_algorithm="EC-P256",
    not_before=NOW,
    not_after=NOW + timedelta(days=7),
    key_usage=("digitalSignature",),
    extended_key_usage=(OCSP_SIGNING,),
    ocsp_nocheck=True,
)


@pytest.mark.parametrize("kind", [SoftAuthority, Elsewhere])
async def test_it_is_recorded_and_explained(ledger, kind):
    ca = authority(kind, ledger)
    certificate = await issue_responder(ledger, ca, PLAN, KEY, lambda: NOW)
    [row] = await ledger.certificates(profile=RESPONDER)
    assert row.der == certificate.public_bytes(Encoding.DER)
    assert (row.status, row.ca, row.identity) == ("good", "issuing", "ocsp-responder issuing")
    assert row.serial_number == certificate.serial_number
    [decision] = await ledger.decisions(request_id=row.request_id)
    assert (decision.verdict, decision.serial_number) == ("allow", certificate.serial_number)
    assert (await ledger.request(row.request_id)).state == "issued"
    extensions = {extension.oid for extension in certificate.extensions}
    assert ExtensionOID.OCSP_NO_CHECK in extensions
    assert (kind is SoftAuthority) or ca.asked_when_reserved


@pytest.mark.parametrize(
    ("failure", "state"),
    [
        (BackendUnavailable("ca.away", "no answer"), "parked"),
        (BackendRejected("ca.no", "not this"), "rejected"),
        (BackendUnavailable("ca.busy", "throttled", nothing_issued=True), "rejected"),
    ],
)
async def test_an_outcome_that_is_not_a_certificate_is_written_down(ledger, failure, state):
    ca = authority(Elsewhere, ledger)
    ca.failure = failure
    with pytest.raises(type(failure)):
        await issue_responder(ledger, ca, PLAN, KEY, lambda: NOW)
    [decision] = await ledger.decisions(identity="ocsp-responder issuing")
    assert (await ledger.request(decision.request_id)).state == state
    assert await ledger.certificates() == []


async def test_every_process_gets_its_own(ledger):
    ca = authority(SoftAuthority, ledger)
    for _ in range(2):
        await issue_responder(ledger, ca, PLAN, KEY, lambda: NOW)
    assert len(await ledger.certificates(profile=RESPONDER)) == 2


async def test_a_ca_that_leaves_nocheck_out_is_not_believed(ledger):
    class Forgetful(Elsewhere):
        async def issue(self, order):
            return await super().issue(replace(order, plan=replace(order.plan, ocsp_nocheck=False)))

    with pytest.raises(BackendRejected, match=r"issued\.extensions"):
        await issue_responder(ledger, authority(Forgetful, ledger), PLAN, KEY, lambda: NOW)


async def test_a_device_may_not_go_unchecked(ledger):
    class Generous(Elsewhere):
        async def issue(self, order):
            return await super().issue(replace(order, plan=replace(order.plan, ocsp_nocheck=True)))

    plan = replace(PLAN, ocsp_nocheck=False)
    with pytest.raises(BackendRejected, match=r"issued\.extensions"):
        await issue_responder(ledger, authority(Generous, ledger), plan, KEY, lambda: NOW)

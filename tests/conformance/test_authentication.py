"""E: who may enroll."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
import statistics
import time
from datetime import UTC, datetime

import pytest
from asker import issued
from cases import case
from cryptography import x509
from cryptography.x509.oid import NameOID

from est_server.ports.revocation import Revocation
from interop.conformance.asking import base64, certification_request, common_name, new_key


def body(name: str = "asked") -> bytes:
    return base64(certification_request(new_key(), common_name(name)))


@case(79)
def test_a_wrong_password_takes_as_long_as_an_unknown_user(lab, credential):
    """The floor that evens both out is far above what either needs."""

    def seconds(user: str) -> float:
        begin = time.perf_counter()
        assert lab.with_(credential=(user, "wrong")).ask("simpleenroll", body()).status == 401
        return time.perf_counter() - begin

    known = statistics.median(seconds(credential[0]) for _ in range(3))
    unknown = statistics.median(seconds("nobody-at-all") for _ in range(3))
    assert min(known, unknown) >= 0.29


@case(79)
def test_failed_passwords_are_limited_for_one_user_and_no_other(lab, lab_server, credential):
    user, _ = lab_server.credential(f"limited-{lab.version}", "interop")
    statuses = [
        lab.with_(credential=(user, "wrong")).ask("simpleenroll", body()).status for _ in range(11)
    ]
    assert statuses == [401] * 10 + [429]
    assert lab.ask("simpleenroll", body()).status == 200


@case(80)
def test_an_empty_user_name_and_password_are_no_credentials(lab):
    """RFC 7030 3.2.3 lets a server take them; this one can't be configured to."""
    answer = lab.with_(credential=("", "")).ask("simpleenroll", body())
    assert (answer.status, answer.get("WWW-Authenticate")) == (401, 'Basic realm="est-server"')


@pytest.fixture
def both(lab, lab_server, acme):
    credential = lab_server.credential(f"both-{secrets.token_hex(4)}", "both")
    return lab.with_(label="both", credential=credential, identity=acme.device("BOTH-1"))


@case(82)
def test_certificate_and_credential_together_are_enough(both):
    answer = both.ask("simpleenroll", body())
    assert answer.status == 200, answer.body
    subject = issued(answer).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "BOTH-1"


@case(82)
def test_each_of_them_alone_is_not(both, stranger):
    for alone in (
        both.with_(credential=None),
        both.with_(identity=None),
        both.with_(credential=None, identity=None),
        both.with_(credential=(both.credential[0], "wrong")),
        both.with_(identity=stranger.device("BOTH-1")),
    ):
        answer = alone.ask("simpleenroll", body())
        assert (answer.status, answer.get("WWW-Authenticate")) == (401, 'Basic realm="est-server"')


@case(82)
def test_the_credential_of_another_device_is_not(both, lab_server):
    name = f"OTHER-{secrets.token_hex(4)}"
    lab_server.run("device", "add", name, "--profile", "idevid")
    credential = lab_server.credential(f"other-{secrets.token_hex(4)}", "both", "--device", name)
    assert both.with_(credential=credential).ask("simpleenroll", body()).status == 401


@case(83)
def test_who_is_known_and_not_allowed_is_told_so(lab, lab_server, acme):
    name = f"TAKEN-{lab.version}"
    lab_server.run("device", "add", name, "--profile", "interop")
    known = lab.with_(credential=None, label="idevid", identity=acme.device(name))
    answer = known.ask("simpleenroll", body())
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"device.profile")
    assert answer.get("WWW-Authenticate") is None


@case(84)
def test_a_401_leaves_nothing_in_the_ledger(lab, lab_server):
    before = len(lab_server.json("cert", "list", "--limit", "10000"))
    decisions = log_count(lab_server)
    for credential in (None, ("nobody", "wrong")):
        answer = lab.with_(credential=credential).ask("simpleenroll", body())
        assert answer.status == 401
    assert len(lab_server.json("cert", "list", "--limit", "10000")) == before
    assert log_count(lab_server) == decisions


def log_count(server) -> int:
    """Return how many decisions the ledger has."""
    with sqlite3.connect(f"file:{server.directory}/state/ledger.db?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM decisions").fetchone()[0]


@case(85)
@case(86)
def test_the_manufacturers_certificate_names_the_device(lab, acme):
    device = lab.with_(credential=None, label="idevid", identity=acme.device())
    answer = device.ask("simpleenroll", body("somebody else"))
    (name,) = issued(answer).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    assert name.value.startswith("SN-")


@case(75)
def test_a_key_that_was_revoked_as_compromised_does_not_come_back(lab, lab_server):
    key = new_key()
    certificate, _ = lab.enroll(key=key)
    asyncio.run(revoke(lab_server, certificate, "keyCompromise"))
    answer = lab.ask("simpleenroll", base64(certification_request(key, common_name("again"))))
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"key.compromised")


@case(37)
def test_a_revoked_certificate_gets_nothing(lab, lab_server):
    device = lab.enrolled()
    current = x509.load_pem_x509_certificate(device.identity.certificate.read_bytes())

    def renew():
        csr = certification_request(new_key(), current.subject)
        return device.ask("simplereenroll", base64(csr))

    assert renew().status == 200
    asyncio.run(revoke(lab_server, current, "cessationOfOperation"))
    answer = renew()
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"certificate.revoked")


async def revoke(server, certificate, reason) -> None:
    """Revoke a certificate, as another process beside the server would."""
    ledger = server.ledger()
    now = datetime.now(UTC)  # noqa: TID251 - the server's clock is the machine's
    order = Revocation("issuing", certificate.serial_number, reason, now, "conformance")
    await ledger.revocations.revoke([order])
    await ledger.close()

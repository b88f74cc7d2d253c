"""H: requests that wait for a person."""

from __future__ import annotations

import json
import secrets
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import pytest
from asker import Asker, issued
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

from est_server.cli import app
from interop.conformance.asking import (
    alternative_names,
    base64,
    certification_request,
    challenge,
    common_name,
    new_key,
)

REVIEW = "review"


@pytest.fixture(scope="module")
def owner(lab_server):
    return lab_server.credential(f"owner-{secrets.token_hex(4)}", REVIEW)


@pytest.fixture(scope="module")
def asker(lab_server, owner, tmp_path_factory):
    return Asker(lab_server, tmp_path_factory.mktemp("a"), "1.3", credential=owner, label=REVIEW)


def request(key=None, name=None, *attributes):
    return base64(
        certification_request(key or new_key(), common_name(name or "pending"), attributes)
    )


def bound(connection, key, name):
    """Return a request that is bound to a connection, and so never twice the same."""
    return request(key, name, challenge(connection.binding))


def run(server, *arguments):
    """Run a command of the product in this process, which is faster than in one of its own."""
    done = CliRunner().invoke(app, [*arguments, "-c", str(server.config), "-o", "json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def records(server, key):
    """Return what the queue has about a key, newest first."""
    spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    found = run(server, "request", "list", "--state", "any", "--limit", "10000")
    return [row for row in found if row["key_sha256"] == sha256(spki).hexdigest()]


def waiting(asker, key, name):
    """Ask once, and return the id of the record."""
    answer = asker.ask("simpleenroll", request(key, name))
    assert answer.status == 202, answer.body
    [record] = records(asker.server, key)
    return record["request"]


@case(108)
@case(114)
def test_a_request_that_waits_is_told_when_to_ask_again(asker):
    answer = asker.ask("simpleenroll", request())
    assert answer.status == 202
    assert answer.get("Retry-After") == "90"
    assert answer.body == b""
    assert answer.get("Content-Length") == "0"
    assert not answer.chunked


@case(109)
@case(114)
def test_the_same_request_is_one_record_however_often(asker):
    key = new_key()
    csr = request(key)
    for _ in range(4):
        assert asker.ask("simpleenroll", csr).status == 202
    [record] = records(asker.server, key)
    assert record["state"] == "waiting"


@case(110)
@case(111)
def test_a_request_that_is_bound_anew_collects_what_was_approved(lab, owner):
    asker = lab.with_(label=REVIEW, credential=owner)
    name, key = f"bound-{secrets.token_hex(4)}", new_key()
    sent = set()
    for _ in range(2):
        with asker.connect() as connection:
            csr = bound(connection, key, name)
            sent.add(csr)
            assert asker.ask("simpleenroll", csr, on=connection).status == 202
    [record] = records(asker.server, key)
    approved = run(asker.server, "request", "approve", record["request"], "--note", "bench 7")
    assert (approved["state"], approved["note"]) == ("approved", "bench 7")
    serials = set()
    for _ in range(2):  # the second one is a device that lost the answer
        with asker.connect() as connection:
            csr = bound(connection, key, name)
            sent.add(csr)
            serials.add(issued(asker.ask("simpleenroll", csr, on=connection)).serial_number)
    assert (len(sent), len(serials)) == (4, 1)
    [record] = records(asker.server, key)
    assert record["state"] == "issued"
    [decision, first] = run(asker.server, "why", record["request"])
    assert (decision["verdict"], first["verdict"]) == ("allow", "pending")
    assert decision["review"]["note"] == "bench 7"
    assert int(decision["serial"], 16) in serials


@case(111)
def test_a_denial_is_told_with_its_reason(asker):
    name, key = f"denied-{secrets.token_hex(4)}", new_key()
    record = waiting(asker, key, name)
    run(asker.server, "request", "deny", record, "--reason", "not on the list")
    answer = asker.ask("simpleenroll", request(key, name))
    assert answer.status == 403
    assert answer.body.startswith(f"approval.denied: request {record} was denied: ".encode())
    assert b"not on the list" in answer.body
    # other names are another question
    assert asker.ask("simpleenroll", request(key, f"{name}-corrected")).status == 202


def test_other_names_meet_the_record_that_is_open(asker):
    name, key = f"names-{secrets.token_hex(4)}", new_key()
    record = waiting(asker, key, name)
    run(asker.server, "request", "approve", record)
    san = alternative_names(x509.DNSName("somebody.example"))
    for csr in (request(key, "somebody else"), request(key, name, san)):
        answer = asker.ask("simpleenroll", csr)
        assert answer.status == 409
        assert answer.body.startswith(f"approval.differs: request {record} ".encode())
    assert issued(asker.ask("simpleenroll", request(key, name)))


@case(112)
def test_another_identity_does_not_collect_it(asker, lab_server):
    name, key = f"thief-{secrets.token_hex(4)}", new_key()
    csr = request(key, name)
    record = waiting(asker, key, name)
    run(lab_server, "request", "approve", record)
    other = asker.with_(credential=lab_server.credential(f"o-{secrets.token_hex(4)}", REVIEW))
    assert other.ask("simpleenroll", csr).status == 202
    assert len(records(lab_server, key)) == 2
    assert asker.ask("simpleenroll", csr).status == 200
    assert other.ask("simpleenroll", csr).status == 202


def test_a_one_time_credential_pays_once_for_many_polls(asker, lab_server):
    made = run(lab_server, "credential", "add", f"once-{secrets.token_hex(4)}", "--profile", REVIEW)
    once = asker.with_(credential=(made["username"], made["password"]))
    name, key = f"once-{secrets.token_hex(4)}", new_key()
    record = waiting(once, key, name)
    for _ in range(2):
        assert once.ask("simpleenroll", request(key, name)).status == 202
    run(lab_server, "request", "approve", record)

    def poll(_):
        with once.connect() as connection:
            return once.ask("simpleenroll", bound(connection, key, name), on=connection)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(poll, range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({issued(answer).serial_number for answer in answers}) == 1
    assert once.ask("simpleenroll", request(name="another")).status == 202


def test_a_renewal_goes_through_where_the_expression_lets_it(asker):
    name, key = f"renewal-{secrets.token_hex(4)}", new_key()
    record = waiting(asker, key, name)
    run(asker.server, "request", "approve", record)
    certificate = issued(asker.ask("simpleenroll", request(key, name)))
    renewing = asker.with_(identity=asker.keep(certificate, key), credential=None)
    assert issued(renewing.ask("simplereenroll", request(key, name)))


@case(151)
def test_a_key_is_made_when_it_is_handed_out_and_not_before(asker, lab_server):
    label = "review-keygen"
    who = asker.with_(label=label, credential=lab_server.credential("review-keys", label))
    csr = request(name="server-made")
    assert who.ask("serverkeygen", csr).status == 202
    [record] = [
        row for row in run(lab_server, "request", "list") if row["identity"] == "review-keys"
    ]
    shown = run(lab_server, "request", "show", record["request"])
    assert "PRIVATE" not in json.dumps(shown)
    run(lab_server, "request", "approve", record["request"])
    answer = who.ask("serverkeygen", csr)
    assert answer.status == 200
    assert answer.media_type == "multipart/mixed"
    # an approval is for one key: who lost the answer asks for another one
    assert who.ask("serverkeygen", csr).status == 202

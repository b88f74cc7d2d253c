"""Evidence in simpleenroll over real TLS: what is refused, and what the device is told."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from asker import issued
from attacks import attack
from attestation_world import fresh, nonce_of, offered, refusal, send, toy_asker
from cases import case
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from est_process import COMMAND, EstServer, free_addresses, serving
from evidence import bundle, csr_with, sequence
from toy import OID, SLOW_OID, STRANGER, payload, stmt, toy_csr

from interop.conformance.asking import base64, certification_request, common_name, new_key

STMT = b"\x04\x01\x00"


@attack(64)
@case(165)
def test_a_request_without_evidence_is_refused(toys):
    csr = certification_request(new_key(), common_name("device-1"))
    answer = toys.ask("simpleenroll", base64(csr))
    assert refusal(answer) == (403, "attestation.missing")


@case(165)
@attack(68)
@pytest.mark.parametrize("beside", [False, True])
def test_an_unknown_statement_is_refused_and_named(toys, beside):
    with toys.connect() as connection:
        key, nonce = new_key(), fresh(toys, connection)
        good = (OID, stmt(payload(key, nonce)))
        evidence = bundle([good, ("1.2.3.4", STMT)] if beside else [("1.2.3.4", STMT)])
        answer = send(toys, csr_with(evidence, key), connection)
        assert refusal(answer) == (400, "attestation.unknown-statement")
        assert b"1.2.3.4" in answer.body


@case(164)
@attack(65, 66)
def test_one_attribute_with_one_value(toys):
    with toys.connect() as connection:
        key = new_key()
        good = bundle([(OID, stmt(payload(key, fresh(toys, connection))))])
        answer = send(toys, csr_with(good + good, key), connection)
        assert refusal(answer) == (400, "csr.attributes")
        answer = send(toys, csr_with(good, key, twice=True), connection)
        assert refusal(answer) == (400, "csr.duplicate-attribute")


@attack(67, 69, 72)
@case(167)
@pytest.mark.parametrize(
    ("evidence", "rule"),
    [
        (sequence(sequence()), "attestation.encoding"),
        (bundle([(OID, STMT)], [b"\x30\x00"] * 10000), "attestation.too-many"),
        (bundle([(OID, STMT)], [b"\xa1\x00"]), "attestation.certificate-format"),
        (sequence(b"\x30\x80" + STMT + b"\0\0"), "attestation.encoding"),
    ],
    ids=["no-statement", "many-certificates", "attribute-certificate", "indefinite"],
)
def test_a_malformed_bundle_is_malformed(toys, evidence, rule):
    assert refusal(send(toys, csr_with(evidence))) == (400, rule)


@attack(70)
def test_a_request_over_the_limit_is_not_read(toys):
    answer = send(toys, csr_with(bundle([(OID, b"\x04\x83\x01\x00\x00" + b"\0" * 65536)])))
    assert refusal(answer) == (413, "body.too-large")


@attack(71)
def test_evidence_that_is_an_extension_is_no_evidence(toys):
    key = new_key()
    with toys.connect() as connection:
        good = bundle([(OID, stmt(payload(key, fresh(toys, connection))))])
        oid = x509.ObjectIdentifier("1.2.840.113549.1.9.16.2.59")
        csr = (
            x509.CertificateSigningRequestBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "d")]))
            .add_extension(x509.UnrecognizedExtension(oid, good), critical=False)
            .sign(key, SHA256())
        )
        answer = send(toys, csr.public_bytes(Encoding.DER), connection)
        assert refusal(answer) == (403, "attestation.missing")


@attack(73)
def test_good_evidence_does_not_help_a_bad_signature(toys):
    with toys.connect() as connection:
        csr = bytearray(toy_csr(fresh(toys, connection)))
        csr[-1] ^= 1
        assert refusal(send(toys, bytes(csr), connection)) == (400, "csr.signature")


@case(166)
def test_evidence_about_another_key_is_refused(toys):
    with toys.connect() as connection:
        other = payload(new_key(), fresh(toys, connection))
        csr = csr_with(bundle([(OID, stmt(other))]))
        assert refusal(send(toys, csr, connection)) == (403, "toy.key-mismatch")


@case(166)
def test_evidence_about_no_key_is_refused(toys):
    with toys.connect() as connection:
        answer = offered(toys, fresh(toys, connection), on=connection, spki=None)
        assert refusal(answer) == (403, "attestation.key-not-bound")


def test_evidence_without_a_nonce_is_refused(toys):
    assert refusal(offered(toys, None)) == (403, "toy.fresh")


@attack(74)
def test_statements_about_two_platforms_are_refused(toys):
    with toys.connect() as connection:
        key, nonce = new_key(), fresh(toys, connection)
        both = [payload(key, nonce), payload(key, nonce, platform="p2", spki=None)]
        csr = csr_with(bundle([(OID, stmt(one)) for one in both]), key)
        assert refusal(send(toys, csr, connection)) == (403, "attestation.platforms-differ")


def test_something_forged_beside_something_good_is_refused(toys):
    with toys.connect() as connection:
        key, nonce = new_key(), fresh(toys, connection)
        one = payload(key, nonce)
        csr = csr_with(bundle([(OID, stmt(one)), (OID, stmt(one, STRANGER))]), key)
        assert refusal(send(toys, csr, connection)) == (403, "toy.signature")


def test_a_warning_shortens_the_lifetime(toys):
    with toys.connect() as connection:
        claims = {"firmware": "1.10", "svn": 8, "debug": "on"}
        answer = offered(toys, fresh(toys, connection), on=connection, claims=claims)
        found = issued(answer)
        lived = found.not_valid_after_utc - found.not_valid_before_utc
        assert lived.total_seconds() == 3600


@attack(95, 97)
def test_neither_the_answer_nor_the_log_has_what_was_compared(toys):
    with toys.connect() as connection:
        claims = {"firmware": "1.4.2", "svn": 6, "secret": "4141-4242"}
        answer = offered(toys, fresh(toys, connection), on=connection, claims=claims)
        assert refusal(answer) == (403, "toy.svn")
        assert b">=" not in answer.body
        answer = offered(
            toys, fresh(toys, connection), on=connection, claims=claims, misbehave="raise"
        )
        assert refusal(answer) == (403, "attestation.verifier-failed")
        log = (toys.server.directory / "serve.log").read_text()
        assert '"verifier.failed"' in log
        assert "4141-4242" not in log


@attack(93)
@pytest.mark.parametrize("misbehave", ["raise", "nothing", "nonce"])
def test_a_verifier_that_fails_refuses(toys, misbehave):
    with toys.connect() as connection:
        answer = offered(toys, fresh(toys, connection), on=connection, misbehave=misbehave)
        assert refusal(answer) == (403, "attestation.verifier-failed")


@attack(93)
@case(168)
@pytest.mark.parametrize("misbehave", ["sleep", "unavailable"])
def test_a_verifier_that_is_away_issues_nothing(toy_server, plugin, tmp_path_factory, misbehave):
    slow = toy_asker(toy_server, tmp_path_factory, plugin, f"1.3{misbehave}", "slow")
    with slow.connect() as connection:
        nonce = fresh(slow, connection)
        answer = offered(slow, nonce, on=connection, oid=SLOW_OID, misbehave=misbehave)
        assert refusal(answer) == (503, "attestation.verifier-unavailable")
        assert answer.get("Retry-After")
        nonce = fresh(slow, connection)
        assert offered(slow, nonce, on=connection, oid=SLOW_OID).status == 200


def test_the_same_request_gets_the_same_certificate(toys):
    with toys.connect() as connection:
        csr = toy_csr(fresh(toys, connection))
        first, second = (issued(send(toys, csr, connection)) for _ in range(2))
        assert first == second


@attack(57)
def test_a_nonce_is_spent_even_when_its_answer_is_not_given_again(
    new_toy_server, plugin, tmp_path_factory
):
    server = new_toy_server()
    text = server.config.read_text().replace("limits:\n", "limits:\n  idempotency_window: 1s\n")
    text = text.replace("most_nonces_per_client: '100000'", "most_nonces_per_client: 3")
    server.config.write_text(text)
    with serving(server, PYTHONPATH=str(plugin)):
        asker = toy_asker(server, tmp_path_factory, plugin, "1.3")
        with asker.connect() as connection:
            csr = toy_csr(fresh(asker, connection))
            first = issued(send(asker, csr, connection))
            until = time.monotonic() + 20
            while (answer := send(asker, csr, connection)).status == 200:
                assert issued(answer) == first
                assert time.monotonic() < until
            assert refusal(answer) == (403, "nonce.used")
            # and it makes room: three wait, a fourth does not
            answers = [asker.ask("nonce", on=connection) for _ in range(4)]
            assert [answer.status for answer in answers] == [200, 200, 200, 503]
            assert answers[-1].get("Retry-After")


@attack(96)
def test_a_renewal_needs_fresh_evidence(toys):
    with toys.connect() as connection:
        key = new_key()
        asked = toys.ask("nonce", on=connection)
        nonce, cookie = nonce_of(asked), ("Cookie", asked.get("Set-Cookie").split(";")[0])
        certificate = issued(send(toys, toy_csr(nonce, key), connection))
    device = toys.with_(identity=toys.keep(certificate, key), credential=None)
    with device.connect() as connection:
        other = new_key()
        answer = send(device, toy_csr(nonce, other), connection, "simplereenroll")
        assert refusal(answer) == (403, "nonce.binding")
        answer = send(device, toy_csr(nonce, other), connection, "simplereenroll", cookie)
        assert refusal(answer) == (403, "nonce.used")
        csr = certification_request(other, common_name("device-1"))
        assert refusal(send(device, csr, connection, "simplereenroll")) == (
            403,
            "attestation.missing",
        )
        nonce = fresh(device, connection)
        answer = send(device, toy_csr(nonce, other), connection, "simplereenroll")
        assert issued(answer).public_key() == other.public_key()


@attack(58)
def test_of_20_parallel_uses_of_one_nonce_one_is_issued(toys):
    answer = toys.ask("nonce")
    assert _of_20([toys], answer) == {"issued": 1, "nonce.used": 19}


def _of_20(askers, answer):
    """Send 20 requests with one nonce over connections of their own; count what came of them."""
    nonce, key = nonce_of(answer), new_key()
    cookie = ("Cookie", answer.get("Set-Cookie").split(";")[0])
    csrs = [toy_csr(nonce, key, name=f"device-{number}") for number in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = [
            *pool.map(
                lambda one: askers[one[0] % len(askers)].ask(
                    "simpleenroll", base64(one[1]), cookie
                ),
                enumerate(csrs),
            )
        ]
    return Counter("issued" if one.status == 200 else refusal(one)[1] for one in answers)


class Second(EstServer):
    """Another process beside the first, on the same ledger."""

    __slots__ = ()

    @property
    def config(self):
        return self.directory / "second.yaml"


@attack(58, 63)
def test_of_20_at_two_processes_one_is_issued_before_and_after_a_restart(
    new_toy_server, plugin, tmp_path_factory
):
    server = new_toy_server()
    est, public, admin = free_addresses(3)
    text = server.config.read_text()
    for old, new in ((server.est, est), (server.public, public), (server.admin, admin)):
        text = text.replace(old, new)
    (server.directory / "second.yaml").write_text(text)
    second = Second(server.directory, est, public, admin)
    one = None
    nonces = {}
    for run in range(3):
        # both at once, both again, and one alone
        servers = [server, second][: 1 if run == 2 else 2]
        with ExitStack() as stack:
            for started in servers:
                stack.enter_context(serving(started, PYTHONPATH=str(plugin)))
            one = one or toy_asker(server, tmp_path_factory, plugin, "1.3")
            askers = [one.with_(server=started) for started in servers]
            for name, answer in nonces.items():
                known = {"nonce.used": 20} if "spent" in name else {"issued": 1, "nonce.used": 19}
                assert _of_20(askers, answer) == known, (run, name)
            # of the nonces of this run one is spent before it ends
            nonces = {"spent": one.ask("nonce"), "kept": one.ask("nonce")}
            assert _of_20(askers, nonces["spent"]) == {"issued": 1, "nonce.used": 19}


@attack(94)
def test_a_policy_with_a_mistake_keeps_the_old_one(new_toy_server, plugin, tmp_path_factory):
    server = new_toy_server()
    policy = server.directory / "policies" / "toys.yaml"
    with serving(server, PYTHONPATH=str(plugin)):
        asker = toy_asker(server, tmp_path_factory, plugin, "1.3")

        def svn(number):
            with asker.connect() as connection:
                claims = {"firmware": "1.5", "svn": number}
                return offered(asker, fresh(asker, connection), on=connection, claims=claims).status

        def reload():
            return subprocess.run(
                [*COMMAND, "config", "reload", "-c", str(server.config)],
                env={**os.environ, "PYTHONPATH": str(plugin)}, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip

        assert (svn(6), svn(7)) == (403, 200)
        good = policy.read_text()
        policy.write_text(good.replace("least_svn: 7", "least_svn: [7"))
        done = reload()
        assert done.returncode == 3
        assert "toys.yaml:" in done.stderr
        assert (svn(6), svn(7)) == (403, 200)
        policy.write_text(good.replace("least_svn: 7", "least_svn: 9"))
        assert reload().returncode == 0
        assert (svn(8), svn(9)) == (403, 200)


@case(168)
def test_a_policy_may_let_a_person_decide(toy_server, plugin, tmp_path_factory):
    queue = toy_asker(toy_server, tmp_path_factory, plugin, "1.2", "queue")
    key = new_key()

    def ask(svn):
        with queue.connect() as connection:
            claims = {"svn": svn}
            csr = toy_csr(fresh(queue, connection), key, claims=claims)
            return send(queue, csr, connection)

    first, again = ask(6), ask(6)
    assert (first.status, again.status) == (202, 202)
    assert first.get("Retry-After")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(plugin))
        (waiting,) = toy_server.json("request", "list")
        assert not toy_server.json("why", waiting["request"])[0].get("serial")
        toy_server.run("request", "approve", waiting["request"])
        told = toy_server.json("why", waiting["request"])[0]
    assert told["attestation"]["status"] == "contraindicated"
    assert json.dumps(told["attestation"]).count('"svn"') >= 1
    assert ask(6).status == 200  # fresh evidence, the same question

"""A verifier of somebody else's is found, set up and used, over real TLS."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode

from asker import issued
from asn1crypto import core
from attestation_world import fresh, nonce_of, refusal, send, toy_asker
from toy import toy_csr

from est_server.wire.pkcs10 import parse_csr
from interop.conformance.asking import base64, new_key


def test_csrattrs_asks_for_evidence(toys):
    csrattrs = b64decode(toys.ask("csrattrs").body)
    assert core.ObjectIdentifier("1.2.840.113549.1.9.16.2.59").dump() in csrattrs
    assert core.ObjectIdentifier("1.2.840.113549.1.9.16.2.59").dump() not in b64decode(
        toys.with_(label="interop").ask("csrattrs").body
    )


def test_every_check_is_explained_and_nothing_is_spent(toys, toy_server, est, tmp_path):
    claims = {"firmware": "1.3", "svn": 8}
    path = tmp_path / "device.csr"
    with toys.connect() as connection:
        nonce = fresh(toys, connection)
        path.write_bytes(toy_csr(nonce, claims=claims))
        told = est(1, "attestation", "explain", "--csr", str(path), "--profile", "toys")
        assert "contraindicated" in told
        assert "✗ reference-value: 1.3; expected firmware >= 1.4" in told
        assert "✓ svn: 8; expected >= 7" in told
        key = new_key()
        path.write_bytes(toy_csr(nonce, key))
        arguments = (
            "attestation",
            "explain",
            "--csr",
            str(path),
            "--profile",
            "toys",
            "-o",
            "json",
        )
        found = json.loads(est(0, *arguments, "--nonce", nonce.hex()))
        assert (found["status"], found["submods"]["key"]["claims"]["kept"]) == ("affirming", {})
        other = json.loads(est(1, *arguments, "--nonce", "AAAAAAAAAAA"))
        assert other["code"] == "nonce.unknown"
        assert send(toys, toy_csr(nonce, key), connection).status == 200


def test_a_profile_is_tested_with_the_evidence_in_the_request(toys, est, tmp_path):
    path = tmp_path / "device.csr"
    arguments = ("profile", "test", "toys", "--csr", str(path), "--username", toys.credential[0])
    with toys.connect() as connection:
        path.write_bytes(toy_csr(fresh(toys, connection)))
        assert "attestation  policy toys: affirming" in " ".join(est(0, *arguments).split(" "))
        path.write_bytes(toy_csr(fresh(toys, connection), claims={"firmware": "1.5", "svn": 1}))
        assert json.loads(est(1, *arguments, "-o", "json"))["rule"] == "toy.svn"


def test_years_later_why_shows_the_result_and_not_the_evidence(toys, est):
    with toys.connect() as connection:
        csr = toy_csr(fresh(toys, connection), claims={"firmware": "1.5", "svn": 6, "serial": "X9"})
        answer = send(toys, csr, connection)
    decision = answer.body.decode().split("decision ")[1].rstrip(")\n")
    told = est(0, "why", decision)
    assert "✗ svn: 6; expected >= 7" in told
    assert "policy toys@" in told
    (found,) = json.loads(est(0, "why", decision, "-o", "json"))
    assert found["attestation"]["submods"]["key"]["claims"]["serial"] == "X9"
    assert len(found["attestation"]["policy"].partition("sha256:")[2]) == 64
    ledger = sqlite3.connect(toys.server.directory / "state" / "ledger.db")
    ((kept,),) = ledger.execute("SELECT csr FROM decisions WHERE id = ?", (decision,))
    ledger.close()
    assert parse_csr(kept).spki
    assert b"firmware" in csr
    assert b"firmware" not in kept


def test_a_device_with_good_evidence_gets_a_certificate(toys):
    with toys.connect() as connection:
        nonce = nonce_of(toys.ask("nonce", on=connection))
        answer = toys.ask("simpleenroll", base64(toy_csr(nonce)), on=connection)
        assert answer.status == 200, answer.body
        assert issued(answer).subject.rfc4514_string() == "CN=device-1"


def test_a_renewal_with_worse_firmware_is_refused_and_leaves_an_event(
    toy_server, plugin, tmp_path_factory, est
):
    fleet = toy_asker(toy_server, tmp_path_factory, plugin, "1.3", "fleet")
    key = new_key()
    with fleet.connect() as connection:
        certificate = issued(send(fleet, toy_csr(fresh(fleet, connection), key), connection))
    device = fleet.with_(identity=fleet.keep(certificate, key), credential=None)
    with device.connect() as connection:
        claims = {"firmware": "1.3.9", "svn": 7, "debug": "off"}
        csr = toy_csr(fresh(device, connection), claims=claims)
        answer = send(device, csr, connection, "simplereenroll")
        assert refusal(answer) == (403, "toy.reference-value")
        assert b"firmware" not in answer.body
        decision = answer.body.decode().split("decision ")[1].rstrip(")\n")
        told = est(0, "why", decision)
        assert "worse than before: key: affirming to contraindicated" in told
        assert "✗ reference-value: 1.3.9; expected firmware >= 1.4" in told
        name = json.loads(est(0, "why", decision, "-o", "json"))[0]["identity"]
        shown = json.loads(est(0, "device", "show", name, "-o", "json"))["appraisals"]
        assert [one["status"] for one in shown] == ["contraindicated", "affirming"]
        assert shown[0]["worse"] == [
            "status: affirming to contraindicated",
            "key: affirming to contraindicated",
        ]
        # what was put right renews, and is no event
        csr = toy_csr(fresh(device, connection))
        assert send(device, csr, connection, "simplereenroll").status == 200
        (latest, *_) = json.loads(est(0, "device", "show", name, "-o", "json"))["appraisals"]
        assert (latest["status"], latest["worse"]) == ("affirming", [])
    ledger = sqlite3.connect(toy_server.directory / "state" / "ledger.db")
    kept = [
        row[0] for row in ledger.execute("SELECT evidence FROM appraisals WHERE profile = 'fleet'")
    ]
    assert [b"1.3.9" in one for one in kept] == [False, True, False]
    assert ledger.execute(
        "SELECT count(evidence) FROM appraisals WHERE profile = 'toys'"
    ).fetchone() == (0,)
    ledger.close()

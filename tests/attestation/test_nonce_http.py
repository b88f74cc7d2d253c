"""GET and POST /nonce over real TLS."""

from __future__ import annotations

import json

import pytest
from attacks import attack
from attestation_world import nonce_of, offered
from cases import case
from toy import OID

KIND = ("Content-Type", "application/est-attestation-freshness+json")


@case(169)
def test_a_nonce_is_plain_json(toys):
    answer = toys.ask("nonce")
    assert answer.status == 200
    assert answer.get("Content-Type") == KIND[1]
    assert answer.get("Content-Transfer-Encoding") is None
    assert answer.get("Cache-Control") == "no-store"
    content = json.loads(answer.body)
    assert content.keys() == {"nonce", "expiry"}
    assert content["expiry"] == 300
    assert "=" not in content["nonce"]
    assert len(nonce_of(answer)) == 32
    assert nonce_of(toys.ask("nonce")) != nonce_of(answer)
    cookie = answer.get("Set-Cookie")
    assert "Secure" in cookie
    assert "HttpOnly" in cookie


def post(toys, content, *fields):
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return toys.ask("nonce", body, *(fields or (KIND,)))


@case(170)
@pytest.mark.parametrize("length", [8, 32, 64])
def test_a_nonce_has_the_length_that_is_asked_for(toys, length):
    assert len(nonce_of(post(toys, {"len": length}))) == length


@case(170)
@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", [], {"len": 4}, {"len": 65}, {"len": "32"}, {"reqTypeInfo": {"type": "toy"}},
        {"reqTypeInfo": {"type": "1.2.3"}}, {"reqTypeInfo": {"type": OID, "reqInfo": "garbage"}},
    ],
)  # fmt: skip
def test_a_malformed_request_gets_400_and_nothing_else(toys, content):
    answer = post(toys, content)
    assert (answer.status, answer.body) == (400, b"")


@case(170)
def test_a_verifier_that_fails_gives_503(toys):
    answer = post(toys, {"reqTypeInfo": {"type": OID, "reqInfo": "fail"}})
    assert answer.status == 503
    assert answer.get("Retry-After")


def test_another_media_type_is_not_read(toys):
    assert post(toys, {}, ("Content-Type", "application/json")).status == 415


def test_a_verifier_tells_the_device_what_it_needs(toys):
    content = json.loads(post(toys, {"reqTypeInfo": {"type": OID, "reqInfo": 1}}).body)
    assert content["respTypeInfo"] == {"type": OID, "respInfo": {"registers": [0, 7]}}


def test_a_nonce_may_be_in_the_challenge_alone(toys):
    with toys.connect() as connection:
        body = json.dumps({"reqTypeInfo": {"type": OID, "reqInfo": "hide"}}).encode()
        content = json.loads(toys.ask("nonce", body, KIND, on=connection).body)
        assert content["nonce"] == ""
        masked = bytes.fromhex(content["respTypeInfo"]["respInfo"]["masked"])
        nonce = bytes(octet ^ 0x5A for octet in masked)
        assert offered(toys, nonce, on=connection).status == 200


def test_only_labels_that_take_evidence_have_nonces(toys):
    assert toys.with_(label="interop").ask("nonce").status == 404
    assert toys.with_(label="nobody").ask("nonce").status == 404
    assert toys.ask("nonce", b"", KIND, method="PUT").status == 405


@attack(62)
def test_a_nonce_that_nobody_gave_out_is_refused(toys):
    answer = offered(toys, b"n" * 32)
    assert (answer.status, answer.body.split(b":")[0]) == (403, b"nonce.unknown")


@attack(60)
@case(171)
def test_a_nonce_belongs_to_its_tls_session_or_cookie(toys):
    def refused(answer):
        return answer.status, answer.body.split(b":")[0]

    got = toys.ask("nonce")
    cookie = got.get("Set-Cookie").split(";")[0]
    assert refused(offered(toys, nonce_of(got))) == (403, b"nonce.binding")
    other = cookie[:-4] + "AAAA"
    assert refused(offered(toys, nonce_of(got), ("Cookie", other))) == (403, b"nonce.binding")
    assert offered(toys, nonce_of(got), ("Cookie", cookie)).status == 200
    # a client that keeps its cookie has one for all its nonces
    again = toys.ask("nonce", None, ("Cookie", cookie))
    assert again.get("Set-Cookie").split(";")[0] == cookie


@attack(61)
@case(171)
def test_a_nonce_of_another_label_is_refused(toys):
    with toys.connect() as connection:
        nonce = nonce_of(toys.with_(label="other").ask("nonce", on=connection))
        answer = offered(toys, nonce, on=connection)
        assert answer.body.startswith(b"nonce.label")


@attack(57)
@case(171)
def test_a_nonce_is_good_for_one_request(toys):
    with toys.connect() as connection:
        nonce = nonce_of(toys.ask("nonce", on=connection))
        assert offered(toys, nonce, on=connection).status == 200
        answer = offered(toys, nonce, on=connection)
        assert (answer.status, answer.body.split(b":")[0]) == (403, b"nonce.used")


@attack(57)
def test_a_refused_request_has_spent_its_nonce(toys):
    with toys.connect() as connection:
        nonce = nonce_of(toys.ask("nonce", on=connection))
        assert offered(toys, nonce, on=connection, claims={"svn": 6}).status == 403
        assert offered(toys, nonce, on=connection).body.startswith(b"nonce.used")

"""Tokens: EAT as CWT and JWT, PSA, signed manifests; and every way to have one believed wrongly."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import cbor2
import pytest
import tokens
from attacks import attack
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError
from tokens import cose, cose_key, jwk, jws, statement, text

from est_server.attestation.claims import claim_texts
from est_server.attestation.eat import EatPolicy, EatToken
from est_server.attestation.signed_manifest import ManifestPolicy, SignedManifest
from est_server.ports.verifier import Evidence, EvidenceRefused, VerificationContext
from est_server.wire.cbor import DEEPEST

NOW = datetime(2026, 11, 24, 15, tzinfo=UTC)
NONCE = bytes(range(32))
UEID = b"\x01" + bytes(range(32))
DEVICE = ec.generate_private_key(ec.SECP256R1())
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
EAT, MANIFEST = EatToken(), SignedManifest()
ENDORSED = {UEID.hex(): tokens.pem(DEVICE)}
CWT = {10: NONCE, 256: UEID, 263: 2, 8: {1: cose_key(KEY)}, 271: ["1.4.2", 1]}
JWT = {
    "eat_nonce": text(NONCE),
    "ueid": text(UEID),
    "dbgstat": "disabled",
    "cnf": {"jwk": jwk(KEY)},
}
PSA = {
    10: hashlib.sha256(NONCE + tokens.spki(KEY)).digest(),
    256: UEID,
    265: tokens.PSA_PROFILE,
    2394: 1,
    2395: 0x3001,
    2396: bytes(32),
    2399: [{1: "BL", 2: bytes(32), 4: "1.9.0", 5: bytes(32)}],
}


def context(policy=None, **changed):
    found = {
        "spki": tokens.spki(KEY),
        "nonce": NONCE,
        "now": NOW,
        "settings": None,
        "policy": policy or EatPolicy(keys=ENDORSED),
    }
    return VerificationContext(**{**found, **changed})


def verify(token, verifier=EAT, nonce=None, **changed):
    evidence = Evidence("1.2.3", statement(token, nonce))
    return verifier.verify(evidence, context(**changed))


def refused(token, verifier=EAT, nonce=None, **changed):
    with pytest.raises(EvidenceRefused) as caught:
        verify(token, verifier, nonce, **changed)
    return caught.value.code


def failed(found):
    return [check.code for check in found.checks if not check.passed]


@pytest.mark.parametrize("token", [cose(DEVICE, CWT), jws(DEVICE, JWT)], ids=["cwt", "jwt"])
def test_a_token_of_a_known_device_is_believed(token):
    assert EAT.nonce(Evidence("1.2.3", statement(token)), None) == NONCE
    found = verify(token)
    assert (found.binds_key, found.fresh, failed(found)) == (True, True, [])
    assert found.claims["ueid"] == UEID.hex()
    assert [one.kind for one in found.platform] == ["ueid"]


def test_a_psa_token_binds_the_key_by_its_nonce():
    token = cose(DEVICE, PSA)
    assert EAT.nonce(Evidence("1.2.3", statement(token, NONCE)), None) == NONCE
    found = verify(token, nonce=NONCE)
    assert (found.binds_key, found.fresh, failed(found)) == (True, True, [])
    assert found.claims["components"]["BL"]["version"] == "1.9.0"
    assert found.claims["lifecycle"] == "secured"


def test_a_psa_token_for_another_key():
    assert refused(cose(DEVICE, PSA), nonce=NONCE, spki=tokens.spki(OTHER)) == "eat.nonce"


@pytest.mark.parametrize(
    "change", [{256: b"\x02" + bytes(32)}, {2396: bytes(31)}, {2395: None}, {2395: 0x13001}]
)
def test_a_psa_token_of_another_form(change):
    claims = {**PSA, **change}
    keys = {claims[256].hex(): tokens.pem(DEVICE)}
    found = refused(cose(DEVICE, claims), nonce=NONCE, policy=EatPolicy(keys=keys))
    assert found == "eat.psa"


@pytest.mark.parametrize("components", [None, "BL", [1], {1: "BL"}, [cbor2.CBORTag(18, {1: "BL"})]])
def test_software_components_of_another_form(components):
    assert refused(cose(DEVICE, {**PSA, 2399: components}), nonce=NONCE) == "eat.claims"


def test_a_component_does_not_hide_another_of_its_type():
    """The policy asks for a version of `BL`: two of them have none."""
    two = [{1: "BL", 4: "0.1"}, {1: "BL", 4: "1.9.0"}]
    found = verify(cose(DEVICE, {**PSA, 2399: two}), nonce=NONCE)
    assert [one["version"] for one in found.claims["components"]["BL"]] == ["0.1", "1.9.0"]
    assert claim_texts(found.claims, "components.BL.version") == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_json_does_not_have(number):
    assert refused(cose(DEVICE, {**CWT, 261: number})) == "cbor.encoding"


def test_a_text_that_can_not_be_kept():
    assert refused(jws(DEVICE, {**JWT, "swname": "\ud800"})) == "jws.structure"


def test_a_psa_device_that_is_not_secured():
    assert failed(verify(cose(DEVICE, {**PSA, 2395: 0x4001}), nonce=NONCE)) == ["lifecycle"]


def test_a_token_without_a_nonce_is_not_fresh():
    claims = {name: value for name, value in CWT.items() if name != 10}
    evidence = Evidence("1.2.3", statement(cose(DEVICE, claims)))
    assert EAT.nonce(evidence, None) is None
    assert EAT.verify(evidence, context(nonce=None)).fresh is False
    assert refused(cose(DEVICE, claims)) == "eat.nonce"


def test_a_token_without_a_key_binds_none():
    claims = {name: value for name, value in CWT.items() if name != 8}
    assert verify(cose(DEVICE, claims)).binds_key is False


def test_a_device_that_nobody_endorses():
    assert refused(cose(DEVICE, {**CWT, 256: b"\x01" * 33})) == "eat.unknown-device"
    assert refused(cose(DEVICE, {10: NONCE})) == "eat.unknown-device"


def test_an_endorsement_is_an_ec_key():
    with pytest.raises(ValidationError):
        EatPolicy(keys={UEID.hex(): "no key"})


def test_another_nonce():
    assert refused(cose(DEVICE, {**CWT, 10: bytes(32)})) == "eat.nonce"


@attack(41)
def test_no_algorithm():
    assert refused(jws(DEVICE, JWT, alg="none")) == "jws.algorithm"


@attack(42)
def test_the_public_key_as_a_secret():
    pem = tokens.pem(DEVICE).encode()
    raw = DEVICE.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for secret in (pem, raw):
        assert refused(tokens.jws_hmac(secret, JWT)) == "jws.algorithm"


@attack(43)
def test_a_key_in_the_header():
    assert refused(jws(OTHER, JWT, jwk=jwk(OTHER))) == "jws.header"
    assert refused(jws(OTHER, JWT, x5u="https://attacker.example")) == "jws.header"


@attack(44)
def test_something_critical_that_is_unknown():
    assert refused(jws(DEVICE, JWT, crit=["exp"], exp=1)) == "jws.header"
    assert refused(cose(DEVICE, CWT, {1: -7, 2: [99], 99: 1})) == "cose.critical"


@attack(45)
def test_a_changed_payload():
    head, _, signature = jws(DEVICE, JWT).split(b".")
    _, payload, _ = jws(DEVICE, {**JWT, "dbgstat": "disabled-permanently"}).split(b".")
    assert refused(b".".join((head, payload, signature))) == "jws.signature"
    parts = list(cbor2.loads(cose(DEVICE, CWT)).value)
    parts[2] = cbor2.dumps({**CWT, 263: 4})
    assert refused(cbor2.dumps(cbor2.CBORTag(18, parts))) == "cose.signature"


def test_another_devices_signature():
    assert refused(cose(OTHER, CWT)) == "cose.signature"
    assert refused(jws(OTHER, JWT)) == "jws.signature"


@attack(46)
def test_an_algorithm_that_is_not_protected():
    assert refused(cose(DEVICE, CWT, {}, {1: -7})) == "cose.algorithm"


@attack(47)
def test_a_mac_for_an_algorithm():
    assert refused(cose(DEVICE, CWT, {1: 5})) == "cose.algorithm"


def test_an_algorithm_of_another_curve():
    assert refused(cose(DEVICE, CWT, {1: -35})) == "cose.algorithm"
    assert refused(jws(DEVICE, JWT, alg="ES384")) == "jws.algorithm"


@attack(48, 49)
@pytest.mark.parametrize("tag", [None, 17, 98])
def test_another_structure(tag):
    assert refused(cose(DEVICE, CWT, tag=tag)) == "cose.tag"


@attack(50)
def test_deep_nesting():
    deep = b"\xd2" + b"\x81" * 20000 + b"\x00"
    assert refused(deep) == "cbor.encoding"
    assert refused(cose(DEVICE, deep)) == "cbor.encoding"
    for levels, refusal in ((8, False), (DEEPEST + 1, True)):
        claims = cbor2.dumps({**CWT, 275: 0})[:-1] + b"\x81" * levels + b"\x00"
        if refusal:
            assert refused(cose(DEVICE, claims)) == "cbor.encoding"
        else:
            assert verify(cose(DEVICE, claims)).fresh


@attack(51)
def test_a_claim_twice():
    once = cbor2.dumps({10: NONCE, 256: UEID, 263: 0})
    twice = bytes([once[0] + 1]) + once[1:] + cbor2.dumps(263) + cbor2.dumps(2)
    assert refused(cose(DEVICE, twice)) == "cbor.encoding"
    signed = jws(DEVICE, JWT).split(b".")
    double = text(b'{"dbgstat": "enabled", "dbgstat": "disabled"}').encode()
    assert refused(b".".join((signed[0], double, signed[2]))) == "jws.structure"


@attack(52)
def test_one_nonce_of_several():
    found = cose(DEVICE, {**CWT, 10: [bytes(32), NONCE]})
    assert refused(found) == "eat.nonce-array"
    with pytest.raises(EvidenceRefused, match=r"eat\.nonce-array"):
        EAT.nonce(Evidence("1.2.3", statement(found)), None)


@attack(53)
def test_another_profile():
    policy = EatPolicy(keys=ENDORSED, profiles=(tokens.PSA_PROFILE,))
    assert refused(cose(DEVICE, CWT), policy=policy) == "eat.profile"
    assert refused(cose(DEVICE, {**CWT, 265: "tag:other"}), policy=policy) == "eat.profile"


@attack(54)
@pytest.mark.parametrize("claims", [{263: 0}, {}])
def test_debugging_is_on_or_not_said_to_be_off(claims):
    base = {name: value for name, value in CWT.items() if name != 263}
    assert failed(verify(cose(DEVICE, {**base, **claims}))) == ["dbgstat"]
    lax = EatPolicy(keys=ENDORSED, debug="any")
    assert failed(verify(cose(DEVICE, {**base, **claims}), policy=lax)) == []


@attack(55)
def test_a_token_of_tomorrow():
    assert refused(cose(DEVICE, {**CWT, 6: int(NOW.timestamp()) + 3600})) == "eat.iat-future"
    assert verify(cose(DEVICE, {**CWT, 6: int(NOW.timestamp())})).fresh


@attack(56)
def test_about_another_key():
    assert refused(cose(DEVICE, CWT), spki=tokens.spki(OTHER)) == "eat.cnf"
    assert refused(jws(DEVICE, JWT), spki=tokens.spki(OTHER)) == "eat.cnf"


@pytest.mark.parametrize("cnf", [{}, {1: {}}, {1: {1: 1}}, {1: cose_key(KEY) | {-3: b"x"}}])
def test_a_confirmation_that_is_no_key(cnf):
    assert refused(cose(DEVICE, {**CWT, 8: cnf})) == "eat.cnf-format"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "eat.statement"),
        (b"\x04\x05abc", "eat.statement"),
        (statement(b"x") + b"\0", "eat.statement"),
        (b"\x30\x00", "eat.statement"),
        (statement(b""), "cbor.encoding"),
        (statement(b"a.b"), "jws.structure"),
        (statement(b"a.b.c"), "jws.structure"),
        (statement(b"a" * 50_000), "jws.too-large"),
        (statement(b"\xd2" * 40_000), "cbor.too-large"),
        (statement(b"\xd2\x84"), "cbor.encoding"),
        (statement(cose(DEVICE, CWT) + b"\0"), "cbor.encoding"),
        (statement(cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b""]))), "cose.structure"),
        (statement(cbor2.dumps(cbor2.CBORTag(18, [b"", {}, b"", 1]))), "cose.structure"),
        (statement(cose(DEVICE, b"\xc1\x00")), "cbor.encoding"),
        (statement(cose(DEVICE, [1])), "eat.claims"),
        (statement(cose(DEVICE, {256: "text"})), "eat.claims"),
        (statement(cose(DEVICE, dict.fromkeys(range(5000, 5065)))), "eat.claims"),
        (statement(jws(DEVICE, {"ueid": "=="})), "eat.claims"),
    ],
)
def test_a_damaged_token_is_refused(content, code):
    with pytest.raises(EvidenceRefused) as caught:
        EAT.verify(Evidence("1.2.3", content), context())
    assert caught.value.code == code


# -- manifests

DIGEST = hashlib.sha256(b"configuration").hexdigest()
DECLARED = {**JWT, "config_digest": DIGEST, "config": {"/etc/network": DIGEST}}

MANY = dict.fromkeys(map(str, range(257)))


def manifest_policy(**more):
    return ManifestPolicy(keys=ENDORSED, declared="true", **more)


@pytest.mark.parametrize(
    "token", [jws(DEVICE, DECLARED), cose(DEVICE, {**CWT, "config_digest": DIGEST})]
)
def test_a_manifest_is_an_assertion(token):
    found = verify(token, MANIFEST, policy=manifest_policy(config_digests=(DIGEST,)))
    assert (found.binds_key, failed(found), found.claims["declared"]) == (True, [], True)
    other = manifest_policy(config_digests=("00" * 32,))
    assert failed(verify(token, MANIFEST, policy=other)) == ["config"]


def test_a_policy_says_that_it_is_one():
    with pytest.raises(ValidationError):
        ManifestPolicy(keys=ENDORSED)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (jws(DEVICE, DECLARED, typ="JWT"), "manifest.type"),
        (jws(DEVICE, JWT), "manifest.claims"),
        (jws(DEVICE, {**DECLARED, "config": []}), "manifest.claims"),
        (
            jws(DEVICE, {**DECLARED, "config": dict.fromkeys(map(str, range(257)))}),
            "manifest.claims",
        ),
        (jws(OTHER, DECLARED), "jws.signature"),
    ],
)
def test_a_manifest_that_is_none(token, code):
    assert refused(token, MANIFEST, policy=manifest_policy()) == code

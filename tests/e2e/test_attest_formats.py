"""One enrollment with each kind of evidence that needs no TPM, over TLS with a server's nonce.

What a real TPM says is in test_attest_tpm2.
"""

from __future__ import annotations

import json
import re
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Any

import pytest
import tokens
import yaml
from android_device import attested, number
from android_device import statement as android_statement
from asker import Asker, issued
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from dice_device import device, fresh, tcb
from est_process import initialise, serving
from evidence import bundle, csr_with
from signers import root

from est_server.attestation.android_policy import AndroidSettings
from est_server.attestation.dice_policy import DiceSettings
from est_server.attestation.eat import EatSettings
from est_server.attestation.reading import sha256
from est_server.attestation.signed_manifest import ManifestSettings
from est_server.attestation.x509_idevid import CONTEXT, IdevidSettings
from interop.conformance.asking import base64, new_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    Made = tuple[str, bytes, list[bytes]]
    """Statement type, statement, certificates."""

PROFILE = {
    "version": 1,
    "ca": "issuing",
    "registration": "none",
    "authenticate": [{"credential": {}}],
    "subject": {"as_requested": True},
    "key": {"allow": ["EC-P256"]},
    "certificate": {"lifetime": "90d", "extended_key_usage": ["clientAuth"]},
}
MAKER = root("TestCo root")
BOOTED = device(MAKER)
DROID = MAKER.issue("Droid CA")
TEE = DROID.issue("TEE")
IDEVID = MAKER.issue("SN-1", ca=False)
TOKEN_KEY = ec.derive_private_key(7, ec.SECP256R1())
UEID = b"\x01" + bytes(32)
KEYS = {UEID.hex(): tokens.pem(TOKEN_KEY)}
ENVIRONMENTS = [{"layer": 0, "svn": 7}, {"layer": 1, "svn": 7, "fwids": ["01" * 32]}]
RULES: dict[str, dict[str, Any]] = {
    "dice-x509": {"trust": ["testco"], "environments": ENVIRONMENTS},
    "android-key": {
        "trust": ["testco"],
        "os_patch_level": "2026-05",
        "status_list": "trust/android-status.json",
    },
    "eat": {"keys": KEYS},
    "signed-manifest": {"keys": KEYS, "declared": "true", "config_digests": ["ab" * 32]},
    "x509-idevid": {
        "trust": ["testco"],
        "identity": "subject.commonName",
        "names": ["SN-1"],
        "vouches": True,
    },
}


def dice_certified(nonce: bytes, key: EllipticCurvePrivateKey, svn: int = 7) -> Made:
    """The request's key is the last layer's, certified with the nonce."""
    found = BOOTED.below(tcb(layer=1, svn=svn), fresh(nonce), key=key)
    return DiceSettings().statement_type, found.statement(), found.certificates


def dice_signed(nonce: bytes, key: EllipticCurvePrivateKey, flags: int = 0) -> Made:
    """The last layer's key signs the nonce and the request's."""
    found = BOOTED.below(tcb(layer=1, flags=flags))
    said = found.statement(nonce, tokens.spki(key))
    return DiceSettings().statement_type, said, found.certificates


def android(nonce: bytes, key: EllipticCurvePrivateKey, patch: int = 202605) -> Made:
    leaf = attested(TEE, nonce, key, t706=number(patch))
    certificates = [DROID.der, leaf.der, TEE.der]
    return AndroidSettings().statement_type, android_statement(leaf), certificates


def eat_cwt(nonce: bytes, key: EllipticCurvePrivateKey, debug: int = 2) -> Made:
    claims = {10: nonce, 256: UEID, 263: debug, 8: {1: tokens.cose_key(key)}}
    said = tokens.statement(tokens.cose(TOKEN_KEY, claims))
    return EatSettings().statement_type, said, []


def eat_jwt(nonce: bytes, key: EllipticCurvePrivateKey, debug: str = "disabled") -> Made:
    claims = {
        "eat_nonce": tokens.text(nonce), "ueid": tokens.text(UEID), "dbgstat": debug,
        "cnf": {"jwk": tokens.jwk(key)},
    }  # fmt: skip
    said = tokens.statement(tokens.jws(TOKEN_KEY, claims))
    return EatSettings().statement_type, said, []


def manifest(nonce: bytes, key: EllipticCurvePrivateKey, digest: str = "ab" * 32) -> Made:
    claims = {
        "eat_nonce": tokens.text(nonce), "ueid": tokens.text(UEID), "config_digest": digest,
        "cnf": {"jwk": tokens.jwk(key)},
    }  # fmt: skip
    said = tokens.statement(tokens.jws(TOKEN_KEY, claims))
    return ManifestSettings().statement_type, said, []


def idevid(nonce: bytes, key: EllipticCurvePrivateKey, holder: Any = IDEVID) -> Made:
    signed = CONTEXT + nonce + sha256(tokens.spki(key))
    parts = (sha256(holder.der), nonce, holder.key.sign(signed, ec.ECDSA(SHA256())))
    said = tokens.der(0x30, *(tokens.der(4, part) for part in parts))
    return IdevidSettings().statement_type, said, [holder.der]


FORMATS: dict[str, tuple[str, Callable[..., Made], dict[str, Any], str, str]] = {
    "dice-certified": ("dice-x509", dice_certified, {"svn": 6}, "dice-x509.svn", "1: 7 or more"),
    "dice-signed": ("dice-x509", dice_signed, {"flags": 8}, "dice-x509.flags", "debug"),
    "android-key": (
        "android-key", android, {"patch": 202604}, "android-key.patch-level", "202605 at least",
    ),
    "eat-cwt": ("eat", eat_cwt, {"debug": 0}, "eat.dbgstat", "dbgstat 0"),
    "eat-jwt": ("eat", eat_jwt, {"debug": "enabled"}, "eat.dbgstat", "dbgstat 0"),
    "manifest": (
        "signed-manifest", manifest, {"digest": "cd" * 32}, "signed-manifest.config", "cd" * 32,
    ),
    "idevid": (
        "x509-idevid", idevid, {"holder": MAKER.issue("SN-2", ca=False)}, "x509-idevid.name",
        "SN-2",
    ),
}  # fmt: skip
"""Verifier, maker, what makes it wrong, the code of that, and what `why` says of it."""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve a label for each verifier."""
    made = initialise(tmp_path_factory.mktemp("formats") / "server", "--interop")
    pem = MAKER.certificate.public_bytes(Encoding.PEM)
    (made.directory / "trust" / "testco.pem").write_bytes(pem)
    (made.directory / "trust" / "android-status.json").write_text('{"entries": {}}')
    (made.directory / "policies").mkdir(exist_ok=True)
    for name, rule in RULES.items():
        policy = {"version": 1, "rules": [{"name": "what", "verifier": name, **rule}]}
        (made.directory / "policies" / f"{name}.yaml").write_text(yaml.safe_dump(policy))
        profile = {**PROFILE, "labels": [name], "attestation": {"policy": name}}
        (made.directory / "profiles" / f"{name}.yaml").write_text(yaml.safe_dump(profile))
    content = yaml.load(made.config.read_text(), Loader=yaml.BaseLoader)
    content["trust"] = {**content.get("trust", {}), "testco": "trust/testco.pem"}
    made.config.write_text(yaml.safe_dump(content))
    with serving(made) as running:
        yield running


@pytest.fixture(scope="module")
def asker(server, tmp_path_factory):
    """Return a function to who may ask at a verifier's label."""
    known: dict[str, Asker] = {}

    def at(verifier: str) -> Asker:
        if verifier not in known:
            credential = server.credential(f"maker-{verifier}", verifier)
            folder = tmp_path_factory.mktemp("asker")
            known[verifier] = Asker(server, folder, credential=credential, label=verifier)
        return known[verifier]

    return at


def enroll(asker: Asker, version: str, make: Callable[..., Made], **wrong: Any) -> Any:
    """Return the answer to a request with new evidence, and its key."""
    one, key = asker.with_(version=version), new_key()
    with one.connect() as connection:
        text = json.loads(one.ask("nonce", on=connection).body)["nonce"]
        nonce = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        kind, said, certificates = make(nonce, key, **wrong)
        csr = csr_with(bundle([(kind, said)], certificates), key)
        return one.ask("simpleenroll", base64(csr), on=connection), key


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
@pytest.mark.parametrize("name", FORMATS)
def test_good_evidence_gets_a_certificate(server, asker, name, tls):
    verifier, make, *_ = FORMATS[name]
    answer, key = enroll(asker(verifier), tls, make)
    assert answer.status == 200, answer.body
    certificate = issued(answer)
    assert certificate.public_key() == key.public_key()
    if tls == "1.3":
        told = server.json("why", f"{certificate.serial_number:x}")
        assert '"affirming"' in json.dumps(told)


@pytest.mark.parametrize("name", FORMATS)
def test_evidence_that_says_something_else_is_refused(server, asker, name):
    """The device learns a code; what was wanted and what was there is for the operator."""
    verifier, make, wrong, code, shown = FORMATS[name]
    answer, _ = enroll(asker(verifier), "1.3", make, **wrong)
    text = answer.body.decode()
    assert (answer.status, text.split(":")[0]) == (403, code)
    assert shown not in text
    told = json.dumps(server.json("why", re.search(r"d_[0-9a-z]+", text)[0]))
    assert shown in told


def test_a_certificate_that_google_revoked_is_refused_after_a_reload(server, asker):
    """The list is a file: the policy that names it is as it was."""
    path = server.directory / "trust" / "android-status.json"
    entry = {"status": "REVOKED", "reason": "KEY_COMPROMISE"}
    path.write_text(json.dumps({"entries": {f"{TEE.certificate.serial_number:x}": entry}}))
    server.run("config", "reload")
    answer, _ = enroll(asker("android-key"), "1.3", android)
    path.write_text('{"entries": {}}')
    server.run("config", "reload")
    assert (answer.status, answer.body.decode().split(":")[0]) == (403, "android-key.revoked")
    assert enroll(asker("android-key"), "1.3", android)[0].status == 200

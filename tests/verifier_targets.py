"""Every verifier as a whole, and what carries evidence and nonces, for the fuzzers.

The TPM's evidence is what a real (software) TPM said once (`captured`). Tokens are signed anew
around the fuzzer's claims: a device whose key the policy names may be hostile too.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import cbor2
import tokens
from android_device import attested, described, description
from android_device import statement as android_statement
from attestation_targets import TARGETS as PARSERS
from attestation_targets import Target, certification, quote
from captured import NONCE, captured
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from dice_device import device, fresh, tcb, tcb_info
from evidence import bundle, csr_with, sequence
from signers import MADE, extension, root

from est_server.attestation.android_key import AndroidKey
from est_server.attestation.android_policy import AndroidPolicy, AndroidSettings
from est_server.attestation.appraise import Asked, Finding, appraise, matches
from est_server.attestation.chains import spki
from est_server.attestation.dice_policy import DicePolicy, DiceSettings
from est_server.attestation.dice_x509 import DiceX509
from est_server.attestation.eat import EatPolicy, EatSettings, EatToken
from est_server.attestation.policy import Policy, PolicyModel, Rule, RuleModel
from est_server.attestation.reading import certificate, sha256
from est_server.attestation.signed_manifest import ManifestPolicy, SignedManifest
from est_server.attestation.tpm2_certify import CertifyPolicy, Tpm2Certify
from est_server.attestation.tpm2_quote import QuotePolicy, Tpm2Quote
from est_server.attestation.tpm_policy import CertifySettings, QuoteSettings
from est_server.attestation.x509_idevid import CONTEXT as IDEVID_CONTEXT
from est_server.attestation.x509_idevid import IdevidPolicy, IdevidSettings, X509Idevid
from est_server.pki.path import TrustStore
from est_server.ports.verifier import (
    ChallengeContext,
    ChallengeRequest,
    Evidence,
    EvidenceRefused,
    VerificationContext,
    VerifiedEvidence,
)
from est_server.profiles.decision import trace_json
from est_server.wire import dice
from est_server.wire.attestation import attestation_bundle, read_attestation_bundle
from est_server.wire.freshness import read_nonce_request
from est_server.wire.pkcs10 import parse_csr
from est_server.wire.tpm_public import parse_public

if TYPE_CHECKING:
    from collections.abc import Callable

    from est_server.ports.attestation import AttestationResult

_SAID, _MAKER = captured("ecdsa"), captured("manufacturer")
_EK = certificate(_MAKER["ecc"])
NOW = _EK.not_valid_before_utc + timedelta(days=1)
_POOL = (_MAKER["issuer"], _MAKER["ecc"])
_KEPT = {"ak": _SAID["public"].hex(), "ek": sha256(spki(_EK)).hex()}

# -- the whole: a request with a TPM's evidence, to a result

_MODEL = PolicyModel.model_validate(
    {"version": "1", "rules": [{"name": "key", "verifier": "c"}, {"name": "boot", "verifier": "q"}]}
)
_TRUST = {"maker": TrustStore("maker", (x509.load_der_x509_certificate(_MAKER["root"]),))}
_CERTIFY = Rule(_MODEL.rules[0], Tpm2Certify(), CertifySettings(), CertifyPolicy(), _TRUST)
_QUOTE = Rule(_MODEL.rules[1], Tpm2Quote(), QuoteSettings(), QuotePolicy(required=(7,)), _TRUST)
POLICY = Policy("golden", "", _MODEL, (_CERTIFY, _QUOTE))
BUNDLE = bundle(
    [
        (CertifySettings().statement_type, certification(_SAID)),
        (QuoteSettings().statement_type, quote(_SAID)),
    ],
    [_MAKER["issuer"], _MAKER["ecc"].rstrip(b"\xff")],
)


def _context(rule: Rule) -> VerificationContext:
    return VerificationContext(
        spki=parse_public(_SAID["key"]).spki,
        nonce=NONCE,
        now=NOW,
        settings=rule.settings,
        policy=rule.policy,
        trust=rule.trust,
        kept=_KEPT,
    )


def appraised(der: bytes) -> AttestationResult:
    """Return what a bundle comes to, from its octets, as `enrollment.appraising` does it."""
    found = read_attestation_bundle(der)
    evidence = [Evidence(one.type, one.stmt, found.certificates) for one in found.statements]
    findings = []
    for rule, one in matches(POLICY, evidence):
        said: Any
        try:
            said = verified(rule, one, _context(rule))
        except EvidenceRefused as refused:
            said = refused
        findings.append(Finding(rule, one, said))
    result = appraise(POLICY, evidence, findings, Asked(None, "device-1"), NOW)
    kept(result)
    return result


def verified(rule: Rule, evidence: Evidence, context: VerificationContext) -> VerifiedEvidence:
    """Return what a verifier says."""
    rule.verifier.nonce(evidence, rule.settings)
    found = rule.verifier.verify(evidence, context)
    assert isinstance(found, VerifiedEvidence)
    return found


def kept(result: AttestationResult) -> None:
    """See that a result can be written down."""
    content = trace_json((), None, result)
    assert json.loads(content.encode(), parse_constant=_no_number)["attestation"]


def _no_number(text: str) -> NoReturn:
    raise AssertionError(f"{text} in a result")


def _alone(verifier: Any, settings: Any, policy: Any, trust: Any = None) -> Rule:
    model = RuleModel(name="one", verifier="one")
    return Rule(model, verifier, settings, policy, trust or {})


def _whole(
    rule: Rule, pool: tuple[bytes, ...] = _POOL, context: VerificationContext | None = None
) -> Callable[[bytes], object]:
    """Return a target: a statement that one rule is about, to the result that is kept."""
    model = PolicyModel(version="1", rules=(rule.model,))
    policy = Policy("one", "", model, (rule,))

    def call(data: bytes) -> None:
        evidence = Evidence("1.2.3", data, pool)
        said = verified(rule, evidence, context or _context(rule))
        findings = [Finding(rule, evidence, said)]
        kept(appraise(policy, [evidence], findings, Asked(None, "device-1"), NOW))

    return call


def _chain(data: bytes) -> None:
    """An endorsement certificate, beside a good statement."""
    _whole(_CERTIFY, (_MAKER["issuer"], data))(certification(_SAID))


def _request(data: bytes) -> None:
    attestation_bundle(parse_csr(data))


def _challenge(data: bytes) -> None:
    wanted = read_nonce_request(data)
    request = ChallengeRequest(wanted.statement_type or "", wanted.info)
    context = ChallengeContext(NONCE, NOW, CertifySettings(), CertifyPolicy(), _TRUST)
    for rule in (_CERTIFY, _QUOTE):
        rule.verifier.challenge(request, replace(context, policy=rule.policy))


_ASKED = {
    "len": 32,
    "reqTypeInfo": {
        "type": "2.23.133.20.1",
        "reqInfo": {"ek": tokens.text(_MAKER["ecc"]), "ak": tokens.text(_SAID["public"])},
    },
}

# -- tokens, of a device whose key the policy names

_DEVICE = ec.derive_private_key(7, ec.SECP256R1())
_UEID = b"\x01" + bytes(32)
_KEYS = {_UEID.hex(): tokens.pem(_DEVICE)}
_CLAIMS = {6: 1, 10: NONCE, 256: _UEID, 263: 2, 8: {1: tokens.cose_key(_DEVICE)}}
_PSA = {
    265: tokens.PSA_PROFILE, 10: NONCE, 256: _UEID, 2394: 1, 2395: 0x3000, 2396: bytes(32),
    2397: bytes(32), 2399: [{1: "BL", 2: bytes(32), 4: "1.4", 5: bytes(32)}],
}  # fmt: skip
_MANIFEST = {
    10: NONCE, 256: _UEID, 8: {1: tokens.cose_key(_DEVICE)}, 270: "edge", 271: ["1.4.2"],
    "config_digest": "00" * 32, "sbom": "11" * 32, "config": {"/etc/a": "22" * 32},
}  # fmt: skip
_JSON = {"eat_nonce": tokens.text(NONCE), "ueid": tokens.text(_UEID), "dbgstat": "disabled"}


def _token(verifier: Any, policy: Any) -> Callable[[bytes], object]:
    """Return a target for tokens."""
    rule = _alone(verifier, EatSettings(), policy)
    context = VerificationContext(tokens.spki(_DEVICE), NONCE, NOW, EatSettings(), policy)
    call = _whole(rule, (), context)
    return lambda token: call(tokens.statement(token))


_EAT = _token(EatToken(), EatPolicy(keys=_KEYS))
_SIGNED_MANIFEST = _token(SignedManifest(), ManifestPolicy(keys=_KEYS, declared="true"))


def _eat(data: bytes) -> None:
    _EAT(tokens.cose(_DEVICE, data))


def _eat_json(data: bytes) -> None:
    signed = f"{_HEAD}.{tokens.text(data)}".encode()
    signature = tokens.text(tokens.raw_signature(_DEVICE, signed)).encode()
    _EAT(signed + b"." + signature)


def _manifest(data: bytes) -> None:
    _SIGNED_MANIFEST(tokens.cose(_DEVICE, data))


_HEAD = tokens.text(b'{"alg":"ES256","typ":"eat+jwt"}')

# -- an IDevID's statement


def _issued(name: str, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.Certificate:
    def named(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, text)])

    builder = (
        x509.CertificateBuilder()
        .subject_name(named(name))
        .issuer_name(named("maker"))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=100))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    return builder.sign(_MAKER_KEY, SHA256())


_MAKER_KEY = ec.derive_private_key(3, ec.SECP256R1())
_ROOT, _LEAF = _issued("maker", _MAKER_KEY, ca=True), _issued("SN-1", _DEVICE, ca=False)
_LEAF_DER = _LEAF.public_bytes(Encoding.DER)


def _idevid_parts(signature: bytes) -> bytes:
    parts = (sha256(_LEAF_DER), NONCE, signature)
    return sequence(*(tokens.der(4, part) for part in parts))


_IDEVID_TRUST = {"maker": TrustStore("maker", (_ROOT,))}
_IDEVID = _alone(X509Idevid(), IdevidSettings(), IdevidPolicy(vouches=True), _IDEVID_TRUST)
_idevid = _whole(
    _IDEVID,
    (_LEAF_DER,),
    VerificationContext(
        tokens.spki(_DEVICE), NONCE, NOW, _IDEVID.settings, _IDEVID.policy, _IDEVID_TRUST
    ),
)
_SIGNED = _DEVICE.sign(IDEVID_CONTEXT + NONCE + sha256(tokens.spki(_DEVICE)), ec.ECDSA(SHA256()))

# -- a DICE device, whose last layer may put anything into its certificates

_MAKER_OF_DICE = root()
_BOOTED = device(_MAKER_OF_DICE)
_DICE = _BOOTED.below(tcb(layer=1), fresh(NONCE), key=_DEVICE)
_DICE_POLICY = DicePolicy.model_validate({"environments": [{"svn": 7}, {"fwids": ["01" * 32]}]})


def _dice_evidence(statement: bytes, pool: list[bytes]) -> None:
    context = VerificationContext(
        tokens.spki(_DEVICE),
        NONCE,
        MADE,
        DiceSettings(),
        _DICE_POLICY,
        {"maker": TrustStore("maker", (_MAKER_OF_DICE.certificate,))},
    )
    _whole(_alone(DiceX509(), context.settings, _DICE_POLICY), tuple(pool), context)(statement)


def _dice_certificate(data: bytes) -> None:
    """The last layer's certificate itself, named by the statement."""
    statement = sequence(*(tokens.der(4, part) for part in (sha256(data), b"", b"")))
    _dice_evidence(statement, [*_BOOTED.certificates, data])


def _dice_extension(oid: str) -> Callable[[bytes], object]:
    """What the layer before signs, whatever it is."""

    def call(data: bytes) -> None:
        more = (extension(dice.TCB_INFO, data),) if oid == dice.TCB_INFO else (
            tcb(layer=1), extension(oid, data))  # fmt: skip
        made = _BOOTED.below(*more, key=_DEVICE)
        _dice_evidence(made.statement(), made.certificates)

    return call


# -- a key of Android's, whose certificate may say anything

_TEE = _MAKER_OF_DICE.issue("TEE")
_ANDROID = attested(_TEE, NONCE, _DEVICE)
_ANDROID_POLICY = AndroidPolicy.model_validate(
    {"os_patch_level": "2026-05", "purposes": ["sign"], "packages": ["net.example.enroll"]}
)


def _android(statement: bytes, leaf: bytes) -> None:
    evidence = Evidence("1.2.3", statement, (_TEE.der, leaf))
    context = VerificationContext(
        tokens.spki(_DEVICE),
        NONCE,
        MADE,
        AndroidSettings(),
        _ANDROID_POLICY,
        {"maker": TrustStore("maker", (_MAKER_OF_DICE.certificate,))},
    )
    AndroidKey().nonce(evidence, context.settings)
    AndroidKey().verify(evidence, context)


def _android_description(data: bytes) -> None:
    made = _TEE.issue("key", described(data), ca=None, key=_DEVICE)
    _android(android_statement(made), made.der)


TARGETS = {
    **PARSERS,
    "bundle": Target(read_attestation_bundle, (BUNDLE,)),
    "request": Target(_request, (csr_with(BUNDLE),)),
    "nonce-request": Target(
        read_nonce_request, (json.dumps(_ASKED).encode(), b'{"len":8}'), framed=False
    ),
    "tpm-challenge": Target(_challenge, (json.dumps(_ASKED).encode(),)),
    "ek-chain": Target(_chain, (_MAKER["ecc"],), framed=False),
    "tpm2-certify": Target(_whole(_CERTIFY), (certification(_SAID),)),
    "tpm2-quote": Target(_whole(_QUOTE), (quote(_SAID),)),
    "appraisal": Target(appraised, (BUNDLE,)),
    "eat-claims": Target(_eat, (cbor2.dumps(_CLAIMS), cbor2.dumps(_PSA))),
    "eat-json-claims": Target(_eat_json, (json.dumps(_JSON).encode(),)),
    "signed-manifest": Target(_manifest, (cbor2.dumps(_MANIFEST),)),
    "android-key": Target(
        lambda data: _android(data, _ANDROID.der), (android_statement(_ANDROID),)
    ),
    "android-certificate": Target(
        lambda data: _android(tokens.der(4, sha256(data)), data), (_ANDROID.der,), framed=False
    ),
    "android-description": Target(_android_description, (description(NONCE),)),
    "dice-x509": Target(
        lambda data: _dice_evidence(data, _DICE.certificates),
        (_DICE.statement(), _DICE.statement(NONCE, tokens.spki(_DEVICE))),
    ),
    "dice-certificate": Target(_dice_certificate, (_DICE.alias.der,), framed=False),
    "dice-tcb-info": Target(_dice_extension(dice.TCB_INFO), (tcb_info(layer=1, svn=7, flags=0),)),
    "dice-multi-tcb-info": Target(
        _dice_extension(dice.MULTI_TCB_INFO),
        (sequence(tcb_info(layer=1, svn=7), tcb_info(layer=1, index=2, flags=0)),),
    ),
    "x509-idevid": Target(_idevid, (_idevid_parts(_SIGNED),)),
}

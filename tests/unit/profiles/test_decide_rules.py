"""Every rule id both ways: what it refuses, and the nearest thing that passes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from profiles_world import (
    ACTIVE,
    DAY,
    DEVICE_NAME,
    IN_TEN_DAYS,
    NOW,
    STRICT,
    Question,
    csr,
    dns,
    ec_key,
    ip,
    issued,
    issuer,
    name,
    renewal,
    rsa_key,
)

from est_server.pki.key_protection import Algorithms
from est_server.pki.key_recipient import KeyRecipient
from est_server.pki.usages import key_usage_extension
from est_server.ports.ledger import Device
from est_server.profiles.decision import Identity, KeyDelivery, Standin
from est_server.profiles.model import Rule
from est_server.profiles.rules import compile_rule
from est_server.wire.change_subject_name import ChangeSubjectName
from est_server.wire.pkcs10 import parse_csr


def subject(**fields: Any) -> dict[str, Any]:
    return {"subject": fields}


def san(**kinds: Any) -> dict[str, Any]:
    return {"subject_alternative_names": kinds}


def certificate(**changes: Any) -> dict[str, Any]:
    return {"certificate": {**STRICT["certificate"], **changes}}


def attributes(**values: str) -> Any:
    return replace(ACTIVE, attributes=values)


def veto(when: str) -> Any:
    return compile_rule(Rule(name="site", when=when, message="device {device.id} may not"))


def usages(*names: str) -> tuple[x509.ExtensionType, bool]:
    return key_usage_extension(names), True


ALLOW_CN = subject(common_name={"allow": ["SN-*"]})
REQUEST_CN = subject(common_name={"from": "request"})
ATTRIBUTE_CN = subject(common_name={"from": "device.attributes.host"})
REJECT = subject(common_name={"from": "device.id"}, on_mismatch="reject")
DNS = san(dns={"allow": ["*.example.net", "*.wild.net"], "max": 2})
OWN = Identity("SN-1", "own-certificate", certificate=issued())
REQUIRED = {"proof_of_possession": {"channel_binding": "required"}}
OTP = {"proof_of_possession": {"one_time_password": "required"}}
DEMANDS = {
    "csr_attributes": {"require": ["1.2.840.113549.1.9.7"], "require_extensions": ["2.5.29.37"]}
}
EKU_ASKED = (x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), False)
DEMANDED = csr(challenge="x", extensions=(EKU_ASKED,))
REJECT_EXTENSIONS = certificate(on_extra_extension="reject")
CN64 = "x" * 64
TWO_CN = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text) for text in ("SN-1", "SN-2")])


def cn(text: str) -> Any:
    return csr(name(COMMON_NAME=text))


ADDITIONAL = {"enroll": {"own_certificate": "additional"}}


def own(**changes: Any) -> Identity:
    return Identity("SN-1", "own-certificate", certificate=replace(issued(), **changes))


def alternate(**changes: Any) -> Question:
    standin = Standin("alternate", replace(issued(), profile="other", **changes))
    identity = Identity("SN-1", "own-certificate", certificate=issued(), standin=standin)
    return renewal(identity=identity)


def registrar(state: Any = "active", **changes: Any) -> Question:
    shown = replace(issued(), identity="RA-1", profile="registrar", **changes)
    standin = Standin("registrar", shown, Device("RA-1", "registrar", NOW, state))
    return renewal(identity=Identity("SN-1", "registrar", certificate=issued(), standin=standin))


def foreign(expires: datetime) -> Identity:
    return Identity("SN-1", "other-ca", foreign=issued(expires=expires).der)


def changing(
    question: Question, *names: str, subject: x509.Name | None = None, **changes: Any
) -> Question:
    der = None if subject is None else subject.public_bytes()
    change = ChangeSubjectName(subject, der, dns(*names) or None)
    return replace(question, change=change, **changes)


def successor(**changes: Any) -> Any:
    made = {"serial_number": 0x2B, "replaces": 0x2A, **changes}
    return replace(issued(), **made)


def superseding(*others: Any, old: str = "supersede") -> Question:
    return renewal(others=others, profile={"reenroll": {"old": old}})


IMPLICIT = Identity("SN-1", "client-certificate", trust="web", anchors="implicit")


def system(**changes: str) -> dict[str, Any]:
    return {"authenticate": [{"client_certificate": {"trust": "web", **changes}}]}


OFFERED = {"server_key_generation": {"encryption": "optional"}}
SEALED: dict[str, Any] = {"server_key_generation": {}}
ENCRYPTED = KeyDelivery(KeyRecipient(Algorithms("kekri", 32, wrap_octets=32), kek=bytes(32)))


def made_here(changes: dict[str, Any] | None = None, delivery: Any = None) -> Question:
    der = csr().der
    return Question(
        profile=changes or {},
        operation="serverkeygen",
        csr=replace(parse_csr(der, keyless=True), key_algorithm="EC-P256"),
        delivery=delivery or KeyDelivery(),
    )


CASES: list[tuple[str, Question, Question]] = [
    # -- who asks
    ("method.not-allowed",
     Question(identity=Identity("SN-1", "client-certificate")),
     Question(identity=Identity("SN-1", "client-certificate"),
              profile={"authenticate": [{"client_certificate": {"trust": "acme"}}]})),
    ("anchors.implicit", Question(identity=IMPLICIT, profile=system()),
     Question(identity=IMPLICIT, profile=system(implicit="accept"))),
    ("anchors.implicit", Question(identity=IMPLICIT, profile=system(implicit="accept", trust="x")),
     Question(identity=replace(IMPLICIT, anchors="explicit"), profile=system())),
    ("enroll.own-certificate", Question(identity=OWN), renewal()),
    ("enroll.own-certificate", Question(identity=OWN),
     Question(identity=OWN, profile=ADDITIONAL)),
    ("certificate.revoked",
     Question(identity=own(status="revoked"), profile=ADDITIONAL),
     Question(identity=OWN, profile=ADDITIONAL)),
    ("certificate.profile",
     Question(identity=own(profile="x"), profile=ADDITIONAL),
     Question(identity=OWN, profile=ADDITIONAL)),
    ("certificate.expired",
     Question(identity=own(not_after=NOW - DAY),
              profile=ADDITIONAL),
     Question(identity=own(not_after=NOW), profile=ADDITIONAL)),
    # renewing at simpleenroll holds to the rules of a renewal
    ("reenroll.subject",
     Question(identity=OWN, csr=cn("SN-1"), profile={"enroll": {"own_certificate": "renew"}}),
     Question(identity=OWN, csr=cn("SN-1"), profile=ADDITIONAL)),
    ("enroll.again", Question(others=(issued(),), profile={"enroll": {"again": "refuse"}}),
     Question(others=(issued(expires=NOW.replace(microsecond=0) - DAY),),
              profile={"enroll": {"again": "refuse"}})),
    ("enroll.again", Question(others=(issued(),), profile={"enroll": {"again": "refuse"}}),
     Question(others=(issued(),), profile={"enroll": {"again": "replace"}})),
    ("enroll.too-many", Question(others=(issued(),) * 2, profile={"enroll": {"most": "2"}}),
     Question(others=(issued(),), profile={"enroll": {"most": "2"}})),
    ("device.unknown", Question(device=None),
     Question(device=None, profile={"registration": "automatic"})),
    ("device.profile", Question(device=replace(ACTIVE, profile="switch")),
     Question(device=replace(ACTIVE, profile="switch"),
              profile={"registration": "none", **REQUEST_CN})),
    ("device.profile",
     Question(device=replace(ACTIVE, profile="switch"), profile={"registration": "automatic"}),
     Question(profile={"registration": "automatic"})),
    ("device.quarantined", Question(device=replace(ACTIVE, state="quarantined")), Question()),
    ("device.retired", Question(device=replace(ACTIVE, state="retired")), Question()),
    # -- a renewal
    ("reenroll.not-offered", renewal(profile={"reenroll": None}), renewal()),
    ("reenroll.certificate-required",
     Question(operation="simplereenroll"), renewal()),
    ("reenroll.certificate-required", renewal(issued(der=None)), renewal(issued())),
    ("certificate.revoked", renewal(issued(status="revoked")), renewal(issued())),
    ("certificate.held", renewal(issued(status="held")), renewal(issued())),
    ("certificate.presumed", renewal(issued(status="presumed")), renewal(issued())),
    ("certificate.profile", renewal(issued(profile="switch")), renewal(issued())),
    ("certificate.expired",
     renewal(issued(expires=NOW.replace(microsecond=0) - 8 * DAY)),
     renewal(issued(expires=NOW.replace(microsecond=0) - 6 * DAY))),
    ("reenroll.too-early",
     renewal(issued(expires=NOW.replace(microsecond=0) + 31 * DAY)),
     renewal(issued(expires=NOW.replace(microsecond=0) + 30 * DAY))),
    ("reenroll.too-early",
     renewal(issued(expires=NOW.replace(microsecond=0) + 31 * DAY)),
     renewal(issued(expires=NOW.replace(microsecond=0) + 31 * DAY), profile={"reenroll": {}})),
    ("reenroll.key-same", renewal(profile={"reenroll": {"key": "new"}}),
     renewal(profile={"reenroll": {"key": "new"}}, csr=csr(key=ec_key(7)))),
    ("reenroll.key-new", renewal(profile={"reenroll": {"key": "same"}}, csr=csr(key=ec_key(7))),
     renewal(profile={"reenroll": {"key": "same"}})),
    ("reenroll.subject", renewal(csr=cn("SN-1")),
     renewal(csr=csr(name(ORGANIZATION_NAME="EXAMPLE", COMMON_NAME="sn-1")))),
    ("reenroll.subject", renewal(issued(name(COMMON_NAME="x")), csr=csr(x509.Name([]))),
     renewal(issued(name(COMMON_NAME="x")), csr=cn("x"))),
    ("reenroll.san", renewal(csr=csr(names=dns("a.example.net")), profile=DNS),
     renewal(issued(names=dns("a.example.net", "b.example.net")), profile=DNS,
             csr=csr(names=dns("B.example.net", "a.example.net")))),
    ("reenroll.san", renewal(issued(names=dns("a.example.net")), profile=DNS),
     renewal(issued(names=dns("a.example.net")), profile=DNS,
             csr=csr(names=dns("a.example.net")))),
    ("certificate.replaced", superseding(successor(seen_at=NOW)), superseding(successor())),
    ("certificate.replaced", superseding(successor(seen_at=NOW)),
     superseding(successor(seen_at=NOW), old="keep")),
    ("certificate.replaced", superseding(successor(seen_at=NOW)),
     superseding(successor(seen_at=NOW, replaces=7))),
    # -- a renewal by somebody who shows another certificate
    ("alternate.revoked", alternate(status="revoked"), alternate()),
    ("alternate.held", alternate(status="held"), alternate()),
    ("registrar.held", registrar(status="held"), registrar()),
    ("alternate.presumed", alternate(status="presumed"), alternate()),
    ("alternate.expired", alternate(not_after=NOW - DAY), alternate()),
    ("registrar.revoked", registrar(status="revoked"), registrar()),
    ("registrar.presumed", registrar(status="presumed"), registrar()),
    ("registrar.expired", registrar(not_after=NOW - DAY), registrar()),
    ("registrar.quarantined", registrar("quarantined"), registrar()),
    ("registrar.retired", registrar("retired"), registrar()),
    ("reenroll.certificate-unknown",
     renewal(identity=Identity("", "registrar", standin=Standin("registrar", issued()),
                               detail="there is none")), registrar()),
    ("certificate.expired",
     renewal(identity=foreign(NOW.replace(microsecond=0) - 8 * DAY)),
     renewal(identity=foreign(IN_TEN_DAYS))),
    ("reenroll.too-early", renewal(identity=foreign(NOW.replace(microsecond=0) + 31 * DAY)),
     renewal(identity=foreign(IN_TEN_DAYS))),
    ("reenroll.subject", renewal(identity=foreign(IN_TEN_DAYS), csr=cn("SN-1")),
     renewal(identity=foreign(IN_TEN_DAYS))),
    # -- other names than the current ones
    ("names.change", changing(renewal(), "b.example.net", profile=DNS),
     changing(renewal(), "b.example.net",
              profile={**DNS, "reenroll": {"change_subject_name": "true"}})),
    ("names.change", changing(Question(), "b.example.net", profile=DNS),
     changing(Question(), "b.example.net",
              profile={**DNS, "enroll": {"change_subject_name": "true"}})),
    ("san.not-allowed",
     changing(renewal(), "b.example.org",
              profile={**DNS, "reenroll": {"change_subject_name": "true"}}),
     changing(renewal(), "b.example.net",
              profile={**DNS, "reenroll": {"change_subject_name": "true"}})),
    ("reenroll.san",
     changing(renewal(csr=csr(names=dns("b.example.net"))), "b.example.net",
              profile={**DNS, "reenroll": {"change_subject_name": "true"}}),
     changing(renewal(), "b.example.net",
              profile={**DNS, "reenroll": {"change_subject_name": "true"}})),
    ("subject.mismatch",
     changing(renewal(), subject=name(COMMON_NAME="SN-2"),
              profile={**REJECT, "reenroll": {"change_subject_name": "true"}}),
     changing(renewal(), subject=name(COMMON_NAME="SN-1"),
              profile={**REJECT, "reenroll": {"change_subject_name": "true"}})),
    # -- the key and its proof
    ("key.not-allowed", Question(csr=csr(key=ec_key(0, ec.SECP384R1))),
     Question(csr=csr(key=ec_key(0, ec.SECP384R1)), profile={"key": {"allow": ["EC-P384"]}})),
    ("key.weak", Question(csr=csr(key=rsa_key(1024))), Question(csr=csr(key=rsa_key(2048)))),
    ("key.weak", Question(csr=csr(key=rsa_key(2048, 3))), Question(csr=csr(key=rsa_key(2048)))),
    ("key.compromised", Question(compromised=True), Question()),
    ("key.compromised", renewal(compromised=True), renewal()),
    ("pop.mismatch", Question(binding="mismatched"), Question(binding="matched")),
    ("pop.unavailable", Question(binding="unavailable"), Question()),
    ("pop.required", Question(profile=REQUIRED), Question(profile=REQUIRED, binding="matched")),
    ("pop.required", Question(profile=REQUIRED, registrar=True),
     Question(profile=REQUIRED, binding="mismatched", registrar=True)),
    ("pop.unavailable", Question(binding="unavailable"),
     Question(binding="unavailable", registrar=True)),
    ("pop.witness", Question(witness=True), Question(witness=True, registrar=True)),
    ("otp.mismatch", Question(otp="mismatched"), Question(otp="matched")),
    ("otp.mismatch", renewal(otp="mismatched"), renewal(otp="matched")),
    ("otp.required", Question(profile=OTP), Question(profile=OTP, otp="matched")),
    ("otp.required", Question(profile=OTP), renewal(profile=OTP)),
    # -- a key that is made here
    ("keygen.not-offered", made_here(), made_here(OFFERED)),
    ("keygen.encryption-required", made_here(SEALED), made_here(SEALED, ENCRYPTED)),
    *((rule, made_here(OFFERED, KeyDelivery(problem=(rule, "so it is"))), made_here(OFFERED))
      for rule in ("keygen.two-keys", "keygen.capabilities-missing", "keygen.capabilities",
                   "keygen.unknown-key")),
    ("csrattrs.missing", Question(profile=DEMANDS), Question(profile=DEMANDS, csr=DEMANDED)),
    ("csrattrs.missing", Question(profile=DEMANDS, csr=csr(challenge="x")),
     renewal(profile=DEMANDS, csr=DEMANDED, binding="matched")),
    ("csrattrs.missing", Question(profile=DEMANDS, csr=csr(extensions=(EKU_ASKED,))),
     Question(profile={"csr_attributes": {"require": [], "publish": "nothing"}})),
    # -- the evidence; tests/unit/attestation has the rest
    ("attestation.missing", Question(profile={"attestation": {"policy": "router"}}), Question()),
    # -- the subject
    ("subject.missing", Question(profile=ATTRIBUTE_CN),
     Question(profile=ATTRIBUTE_CN, device=attributes(host="SN-1"))),
    ("subject.not-requested", Question(profile=REQUEST_CN, csr=csr(x509.Name([]))),
     Question(profile=REQUEST_CN)),
    ("subject.missing",
     Question(profile={"registration": "none"}, device=None),
     Question(profile={"registration": "none", **subject(common_name={"from": "identity.name"})},
              device=None)),
    ("subject.not-allowed", Question(profile=ALLOW_CN, csr=cn("router")),
     Question(profile=ALLOW_CN, csr=cn("SN-77"))),
    ("subject.ambiguous", Question(profile=ALLOW_CN, csr=csr(TWO_CN)), Question(profile=ALLOW_CN)),
    ("subject.too-long", Question(profile=ATTRIBUTE_CN, device=attributes(host="x" + CN64)),
     Question(profile=ATTRIBUTE_CN, device=attributes(host=CN64))),
    ("subject.too-long",  # octets: the library that encodes names counts them here
     Question(profile=ATTRIBUTE_CN, device=attributes(host="ä" * 33)),
     Question(profile=ATTRIBUTE_CN, device=attributes(host="ä" * 32))),
    ("subject.invalid", Question(profile=ATTRIBUTE_CN, device=attributes(host="a\nb")),
     Question(profile=ATTRIBUTE_CN, device=attributes(host="a b"))),
    ("subject.invalid",
     Question(profile=subject(country={"from": "device.attributes.c"}), device=attributes(c="D1")),
     Question(profile=subject(country={"from": "device.attributes.c"}), device=attributes(c="DE"))),
    ("subject.invalid",
     Question(profile=subject(serial_number={"from": "device.attributes.s"}),
              device=attributes(s="SN_1")),
     Question(profile=subject(serial_number={"from": "device.attributes.s"}),
              device=attributes(s="SN-1"))),
    ("subject.mismatch", Question(profile=REJECT, csr=cn("root")),
     Question(profile=REJECT, csr=cn("sn-1"))),
    ("subject.mismatch", Question(profile=REJECT, csr=cn("root")),
     Question(profile=REJECT, csr=csr(x509.Name([])))),
    ("subject.mismatch", Question(profile=REJECT, csr=cn("root")),
     renewal(issued(name(COMMON_NAME="root")), profile=REJECT, csr=cn("root"))),
    ("subject.empty", Question(profile=subject(as_requested=True), csr=csr(x509.Name([]))),
     Question(profile={**subject(as_requested=True), **san(as_requested=True)},
              csr=csr(x509.Name([]), names=dns("a.net")))),
    # -- the alternative names
    ("san.missing", Question(profile=san(dns={"from": "device.attributes.host"})),
     Question(profile=san(dns={"from": "device.attributes.host"}), device=attributes(host="a.b"))),
    ("san.invalid",
     Question(profile=san(dns={"from": "device.attributes.host"}), device=attributes(host="a b")),
     Question(profile=san(dns={"from": "device.attributes.host"}), device=attributes(host="a-b"))),
    ("san.invalid",
     Question(profile=san(ip={"from": "device.attributes.host"}), device=attributes(host="a.b")),
     Question(profile=san(ip={"from": "device.attributes.host"}), device=attributes(host="::1"))),
    ("san.too-many",
     Question(profile=DNS, csr=csr(names=dns("a.example.net", "b.example.net", "c.example.net"))),
     Question(profile=DNS, csr=csr(names=dns("a.example.net", "b.example.net", "B.example.net")))),
    ("san.not-allowed", Question(csr=csr(names=dns("a.example.net"))),
     Question(csr=csr(names=dns("a.example.net")), profile=san(on_extra="drop"))),
    ("san.not-allowed", Question(profile=DNS, csr=csr(names=dns("a.b.example.net"))),
     Question(profile=DNS, csr=csr(names=dns("A.EXAMPLE.net")))),
    ("san.not-allowed", Question(profile=DNS, csr=csr(names=dns("*.example.com"))),
     Question(profile=DNS, csr=csr(names=dns("*.example.net")))),
    ("san.not-allowed", Question(profile=DNS, csr=csr(names=ip("10.0.0.1"))),
     Question(profile=san(ip={"allow": ["10.0.0.0/24"]}), csr=csr(names=ip("10.0.0.1")))),
    ("san.not-allowed",
     Question(profile=san(ip={"allow": ["10.0.0.0/24"]}), csr=csr(names=ip("10.0.1.1"))),
     Question(profile=san(ip={"allow": ["2001:db8::/32"]}), csr=csr(names=ip("2001:db8::1")))),
    ("san.not-allowed",
     Question(profile=san(email={"allow": ["*@example.net"]}),
              csr=csr(names=(x509.RFC822Name("a@example.com"),))),
     Question(profile=san(email={"allow": ["*@example.net"]}),
              csr=csr(names=(x509.RFC822Name("a@example.net"),)))),
    ("san.not-allowed",
     Question(profile=san(uri={"allow": ["urn:dev:*"]}),
              csr=csr(names=(x509.UniformResourceIdentifier("http://x/urn:dev:1"),))),
     Question(profile=san(uri={"allow": ["urn:dev:*"]}),
              csr=csr(names=(x509.UniformResourceIdentifier("urn:dev:1"),)))),
    ("san.not-allowed",
     Question(profile=DNS, csr=csr(names=(x509.DirectoryName(DEVICE_NAME),))),
     Question(profile=san(as_requested=True), csr=csr(names=(x509.DirectoryName(DEVICE_NAME),)))),
    # -- requested extensions
    ("extension.not-allowed",
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.BasicConstraints(ca=True, path_length=0), True),))),
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.BasicConstraints(ca=False, path_length=None), True),)))),
    ("extension.not-allowed",
     Question(profile=REJECT_EXTENSIONS, csr=csr(extensions=(usages("keyCertSign"),))),
     Question(csr=csr(extensions=(usages("keyCertSign"),)))),
    ("extension.not-allowed",
     Question(profile=REJECT_EXTENSIONS, csr=csr(extensions=(usages("keyAgreement"),))),
     Question(profile=REJECT_EXTENSIONS, csr=csr(extensions=(usages("digitalSignature"),)))),
    ("extension.not-allowed",
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
                                   False),))),
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
                                   False),)))),
    ("extension.not-allowed",
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.TLSFeature([x509.TLSFeatureType.status_request]),
                                   False),))),
     Question(profile=REJECT_EXTENSIONS,
              csr=csr(extensions=((x509.SubjectKeyIdentifier(b"1234"), False),)))),
    # -- the validity
    ("issuer.expired", Question(issuer=issuer(NOW - 10 * DAY, NOW - timedelta(seconds=1))),
     Question(issuer=issuer(NOW - 10 * DAY, NOW + timedelta(seconds=1)))),
    # -- vetoes
    ("rule.site", Question(rules=(veto("device.site == 'a'"),), device=attributes(site="b")),
     Question(rules=(veto("device.site == 'a'"),), device=attributes(site="a"))),
    ("rule.site", Question(rules=(veto("device.site == 'a'"),)),
     Question(rules=(veto("!has(device.site) || device.site == 'a'"),))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "refused", "allowed"), CASES, ids=[f"{n}-{case[0]}" for n, case in enumerate(CASES)]
)
def test_a_rule_refuses_and_its_neighbour_passes(
    rule: str, refused: Question, allowed: Question
) -> None:
    decision = refused.ask()
    assert (decision.verdict, decision.rule) == ("deny", rule), decision.gates
    assert decision.plan is None
    assert decision.message
    assert next(gate for gate in decision.gates if gate.ok is False).rule == rule
    other = allowed.ask()
    assert (other.verdict, other.rule) == ("allow", None), other.gates
    assert other.plan is not None


def test_the_table_has_every_rule_that_the_decision_names() -> None:
    import re

    from est_server.profiles import decide

    named = set(re.findall(r"\b[a-z]+\.[a-z][a-z-]+\b", decide.__doc__ or ""))
    named = {rule for rule in named if not rule.startswith("approval.")}  # test_approval
    assert named <= {case[0] for case in CASES}, named - {case[0] for case in CASES}
    assert {case[0] for case in CASES} - named == {"rule.site"}


def test_what_csrattrs_demands_and_a_request_lacks_is_named() -> None:
    decision = Question(profile=DEMANDS).ask()
    assert decision.message == (
        "the request lacks attribute 1.2.840.113549.1.9.7, extension 2.5.29.37, "
        "which /csrattrs asks for"
    )
    missing = Question(profile=REQUEST_CN, csr=csr(x509.Name([]))).ask()
    assert missing.message == "the request's subject lacks common_name (2.5.4.3)"


def test_the_plan_for_a_key_that_is_made_here_has_no_key_yet() -> None:
    decision = made_here(OFFERED).ask()
    assert decision.plan is not None
    assert (decision.plan.spki, decision.plan.key_algorithm) == (b"", "EC-P256")
    assert "key" not in {gate.rule for gate in decision.gates}


def test_what_opens_a_key_is_not_in_the_trace() -> None:
    decision = made_here(SEALED, ENCRYPTED).ask()
    assert bytes(32).hex() not in decision.trace()
    assert "\\x00" not in repr(ENCRYPTED)

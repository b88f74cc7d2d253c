"""The gate of a person's decision: what waits, what an approval is good for, how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from profiles_world import (
    DAY,
    DEVICE_NAME,
    NOW,
    Question,
    csr,
    dns,
    ec_key,
    issued,
    name,
    profile,
    renewal,
    rsa_key,
)

from est_server.enrollment.idempotency import idempotency_key, match_key
from est_server.ports.pending import PendingRequest
from est_server.profiles.approval import content_digest
from est_server.profiles.decide import decide
from est_server.profiles.decision import Standin
from est_server.profiles.model import Rule
from est_server.profiles.rules import compile_rule
from est_server.wire.change_subject_name import CHANGE_SUBJECT_NAME
from est_server.wire.pkcs10 import parse_csr
from interop.conformance import asking

MANUAL = {"approval": {"mode": "manual", "retry_after": "90s"}}
MOMENT = timedelta(microseconds=1)


def record(state, content=None, **fields):
    """Return what is on record about the question that `Question` asks."""
    made = {
        "id": "r_1", "state": state, "match_key": b"", "operation": "simpleenroll", "label": None,
        "content": content_digest(csr()) if content is None else content, "profile": "router",
        "identity": "SN-1", "device_id": "SN-1", "spki_sha256": b"", "csr": b"",
        "decision_id": "d_1", "created_at": NOW - DAY, "updated_at": NOW - DAY,
        "expires_at": NOW + DAY, "decided_by": "os:alice", "note": "not ours",
    } | fields  # fmt: skip
    return PendingRequest(**made)


def ask(review=None, question=None, when=None, changes=MANUAL):
    question = question or Question()
    rule = None if when is None else compile_rule(Rule(name="x", when=when, message="x"))
    made = profile(changes, issuer=question.issuer, approval_when=rule)
    return decide(made, question.facts(), question.device, question.now, review)


def verdict(*arguments, **named):
    decision = ask(*arguments, **named)
    return decision.verdict, decision.rule


WAITS = ("pending", "approval.pending")
GOES = ("allow", None)


def test_a_profile_that_asks_nobody_lets_everything_through():
    for state in ("waiting", "denied", "approved"):
        assert verdict(record(state), changes={}) == GOES


def test_what_would_be_issued_waits_and_shows_its_plan():
    decision = ask()
    assert (decision.verdict, decision.rule, decision.retry_after) == (*WAITS, 90)
    assert decision.plan == ask(changes={}).plan
    assert decision.gates[-1].ok is None


def test_what_is_refused_does_not_wait():
    refused = replace(Question(), csr=csr(names=dns("evil.example")))
    decision = ask(question=refused)
    assert (decision.verdict, decision.rule, decision.plan) == ("deny", "san.not-allowed", None)
    assert decision.retry_after is None
    assert decision.gates[-1].rule == "approval.pending"


@pytest.mark.parametrize(
    ("state", "same", "other"),
    [
        ("waiting", WAITS, ("deny", "approval.differs")),
        ("approved", GOES, ("deny", "approval.differs")),
        ("issuing", WAITS, ("deny", "approval.differs")),
        ("denied", ("deny", "approval.denied"), WAITS),
        ("issued", WAITS, WAITS),
        ("expired", WAITS, WAITS),
    ],
)
def test_a_record_speaks_for_its_own_content(state, same, other):
    assert verdict(record(state)) == same
    assert verdict(record(state, b"other")) == other


@pytest.mark.parametrize("state", ["waiting", "approved", "denied"])
def test_a_record_speaks_until_it_expires(state):
    assert verdict(record(state, b"other" if state == "waiting" else None)) != WAITS
    assert verdict(record(state, b"other", expires_at=NOW)) == WAITS
    assert verdict(record(state, expires_at=NOW)) == WAITS
    last = verdict(record(state, expires_at=NOW + MOMENT))
    assert (
        last == {"waiting": WAITS, "approved": GOES, "denied": ("deny", "approval.denied")}[state]
    )


def test_a_request_that_is_being_issued_does_not_expire():
    assert verdict(record("issuing", b"other", expires_at=NOW)) == ("deny", "approval.differs")


def test_a_denial_tells_its_reason_and_not_who():
    decision = ask(record("denied"))
    assert decision.message == "request r_1 was denied: not ours"


def test_an_approval_helps_nobody_whom_another_gate_refuses():
    quarantined = replace(Question().device, state="quarantined")
    found = verdict(record("approved"), replace(Question(), device=quarantined))
    assert found == ("deny", "device.quarantined")
    revoked = renewal(issued(status="revoked"))
    assert verdict(record("approved"), revoked) == ("deny", "certificate.revoked")


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        ("request.operation == 'simpleenroll'", WAITS),
        ("request.operation == 'simplereenroll'", GOES),
        ("device.nothing == 'x'", WAITS),  # can't be evaluated
        ("request.san.dns.exists(name, name == 'x')", GOES),
    ],
)
def test_only_what_the_expression_holds_for_waits(when, expected):
    assert verdict(when=when) == expected
    assert verdict(record("denied"), when=when) == ("deny", "approval.denied")
    assert verdict(record("approved"), when=when) == GOES


def test_what_is_too_large_to_be_judged_waits():
    names = dns("x" * 3000)
    question = replace(Question(), csr=csr(names=names))
    changes = {**MANUAL, "subject_alternative_names": {"as_requested": True}}
    assert verdict(question=question, when="false") == ("deny", "san.not-allowed")
    assert verdict(question=question, when="false", changes=changes) == WAITS


def test_content_is_names_and_extensions_and_nothing_else():
    first = content_digest(csr(names=dns("a.b")))
    assert content_digest(csr(names=dns("a.b"), key=rsa_key(2048), challenge="x")) == first
    usage = x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH])
    others = [
        csr(names=dns("a.c")),
        csr(names=dns("a.b", "a.c")),
        csr(),
        csr(name(COMMON_NAME="SN-1"), dns("a.b")),
        csr(names=dns("a.b"), extensions=((usage, False),)),
        csr(names=dns("a.b"), extensions=((usage, True),)),
    ]
    changed = asking.certification_request(
        ec_key(), DEVICE_NAME, [asking.attribute(CHANGE_SUBJECT_NAME, b"\x30\x00")]
    )
    others.append(parse_csr(changed))
    digests = {first, *map(content_digest, others)}
    assert len(digests) == len(others) + 1


def test_a_request_signed_anew_is_the_same_question():
    first, again = (replace(Question(), csr=csr(challenge=text)).facts() for text in ("one", "two"))
    assert match_key("p", first) == match_key("p", again)
    assert idempotency_key("p", first) != idempotency_key("p", again)


def test_another_asker_key_label_or_operation_is_another_question():
    facts = Question().facts()
    identity = facts.identity
    others = [
        replace(facts, csr=csr(key=rsa_key(2048))),
        replace(facts, label=""),
        replace(facts, label="router"),
        replace(facts, operation="simplereenroll"),
        replace(facts, identity=replace(identity, name="SN-2")),
        replace(facts, identity=replace(identity, method="client-certificate")),
        replace(facts, identity=replace(identity, standin=Standin("registrar", issued()))),
        renewal().facts(),
        renewal(issued(serial_number=7)).facts(),
    ]
    keys = [match_key("p", found) for found in (facts, *others)] + [match_key("q", facts)]
    assert len(set(keys)) == len(others) + 2

"""What findings come to under a policy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from attacks import attack
from fuzzing import examples
from hypothesis import given
from hypothesis import strategies as st

from est_server.attestation.appraise import Asked, Finding, appraise, matches
from est_server.attestation.changes import differs, worse_than
from est_server.attestation.claims import claim_texts, expectation_check
from est_server.attestation.policy import Expectation, Policy, PolicyModel, Rule
from est_server.ports.appraisals import Appraisal
from est_server.ports.verifier import (
    Check,
    Evidence,
    EvidenceRefused,
    Platform,
    VerifiedEvidence,
)

NOW = datetime(2026, 6, 1, tzinfo=UTC)
P1, P2 = Platform("ak", "1"), Platform("ak", "2")
KEY = VerifiedEvidence(binds_key=True, fresh=True, platform=frozenset({P1}))
BOOT = VerifiedEvidence(binds_key=False, fresh=True, platform=frozenset({P1}))
ASKED = Asked("SN-1", "router-1")


@dataclass(frozen=True)
class Fake:
    """A verifier of the statements 1.2.<its name's length>."""

    name: str

    def statement_types(self, settings: Any) -> frozenset[str]:
        return frozenset({f"1.2.{self.name}"})


def policy(*rules: dict[str, Any], **keys: Any) -> Policy:
    wanted = rules or ({"name": "key", "verifier": "1"}, {"name": "boot", "verifier": "2"})
    model = PolicyModel.model_validate({"version": "1", "rules": wanted, **keys})
    made = tuple(Rule(rule, Fake(rule.verifier), None, None, {}) for rule in model.rules)
    return Policy("gold", "text", model, made)


def appraised(under: Policy, *said: Any, unknown: str | None = None, asked: Asked = ASKED):
    """Appraise statements, each (verifier, what it says)."""
    bundle = [Evidence(f"1.2.{kind}", b"") for kind, _ in said]
    pairs = matches(under, [*bundle])
    findings = [
        Finding(rule, evidence, said[bundle.index(evidence)][1] if len(said) == 1 else said[
            next(at for at, one in enumerate(bundle) if one is evidence)][1])
        for rule, evidence in pairs
    ]  # fmt: skip
    if unknown is not None:
        bundle.append(Evidence(unknown, b""))
    return appraise(under, bundle, findings, asked, NOW)


def test_all_required_rules_hold():
    found = appraised(policy(), ("1", KEY), ("2", BOOT))
    assert (found.status, found.do, found.policy[0]) == ("affirming", "issue", "gold")
    assert len(found.policy[1]) == 64


@attack(64)
@pytest.mark.parametrize("said", [(), (("1", KEY),), (("2", BOOT),)])
def test_a_statement_that_is_missing_refuses(said):
    found = appraised(policy(), *said)
    assert (found.status, found.do, found.code) == ("none", "refuse", "attestation.missing")


def test_one_rule_is_enough_where_any_is():
    under = policy(require="any")
    assert appraised(under, ("1", KEY)).do == "issue"
    assert appraised(under).code == "attestation.missing"


@attack(74)
@pytest.mark.parametrize("require", ["all", "any"])
def test_two_platforms_are_refused(require):
    other = replace(BOOT, platform=frozenset({P2}))
    found = appraised(policy(require=require), ("1", KEY), ("2", other))
    assert (found.do, found.code) == ("refuse", "attestation.platforms-differ")
    nowhere = replace(BOOT, platform=frozenset())
    assert appraised(policy(), ("1", KEY), ("2", nowhere)).code == "attestation.platforms-differ"


def test_platforms_are_joined_through_others():
    both = replace(BOOT, platform=frozenset({P1, P2}))
    last = replace(BOOT, platform=frozenset({P2}))
    three = policy(*({"name": f"r{at}", "verifier": str(at)} for at in (1, 2, 3)))
    assert appraised(three, ("1", KEY), ("2", last), ("3", both)).do == "issue"


def test_statements_about_the_one_key_are_about_one_platform():
    other = replace(KEY, platform=frozenset({P2}))
    assert appraised(policy(), ("1", KEY), ("2", other)).do == "issue"


def test_the_key_has_to_be_spoken_of():
    found = appraised(policy(), ("1", BOOT), ("2", BOOT))
    assert (found.do, found.code) == ("refuse", "attestation.key-not-bound")


def test_a_statement_has_to_be_fresh_unless_the_rule_says_otherwise():
    stale = replace(KEY, fresh=False)
    assert appraised(policy({"name": "key", "verifier": "1"}), ("1", stale)).code == "1.fresh"
    lax = policy({"name": "key", "verifier": "1", "fresh": "optional"})
    assert appraised(lax, ("1", stale)).do == "issue"


def test_refused_evidence_gives_its_code():
    refused = EvidenceRefused("tpm2.signature", "x", "y")
    found = appraised(policy(), ("1", refused), ("2", BOOT))
    assert (found.status, found.do, found.code) == ("none", "refuse", "tpm2.signature")
    assert (found.rules[0].expected, found.rules[0].actual) == ("x", "y")


def test_something_forged_beside_something_good_is_refused():
    under = policy(require="any")
    found = appraised(under, ("1", KEY), ("2", EvidenceRefused("tpm2.signature")))
    assert (found.do, found.code) == ("refuse", "tpm2.signature")


@attack(68)
def test_an_unknown_statement_is_refused_unless_the_policy_ignores_it():
    found = appraised(policy(), ("1", KEY), ("2", BOOT), unknown="1.2.9")
    assert (found.do, found.code) == ("refuse", "attestation.unknown-statement")
    assert appraised(policy(), unknown="1.2.9").code == "attestation.unknown-statement"
    lax = policy(unknown_statements="ignore")
    assert appraised(lax, ("1", KEY), ("2", BOOT), unknown="1.2.9").do == "issue"


CHECKS = {
    "warning": Check("pcr", "a", "b", passed=False, rating="warning"),
    "contraindicated": Check("pcr", "a", "b", passed=False),
}


@pytest.mark.parametrize("status", CHECKS)
def test_a_status_has_its_outcome(status):
    said = replace(BOOT, checks=(CHECKS[status],))
    found = appraised(policy(), ("1", KEY), ("2", said))
    assert (found.status, found.do, found.code) == (status, "refuse", "2.pcr")
    lax = policy(on_result={status: {"do": "approve", "lifetime": "1h"}})
    found = appraised(lax, ("1", KEY), ("2", said))
    assert (found.do, found.lifetime.total_seconds()) == ("approve", 3600)


@pytest.mark.parametrize("said", [replace(BOOT, checks=(CHECKS["contraindicated"],)), None,
                                  replace(BOOT, platform=frozenset({P2}), fresh=False),
                                  EvidenceRefused("x.y")])  # fmt: skip
def test_a_report_only_rule_changes_nothing_and_is_told(said):
    under = policy(
        {"name": "key", "verifier": "1"},
        {"name": "boot", "verifier": "2", "enforce": "report-only"},
    )
    statements = [("1", KEY)] if said is None else [("1", KEY), ("2", said)]
    found = appraised(under, *statements)
    assert (found.status, found.do) == ("affirming", "issue")
    assert found.rules[1].status != "affirming"
    assert found.as_dict()["submods"]["boot"]["enforce"] == "report-only"


def test_an_optional_rule_counts_if_its_statement_is_there():
    under = policy(
        {"name": "key", "verifier": "1"}, {"name": "boot", "verifier": "2", "enforce": "optional"}
    )
    assert appraised(under, ("1", KEY)).do == "issue"
    bad = replace(BOOT, checks=(CHECKS["contraindicated"],))
    assert appraised(under, ("1", KEY), ("2", bad)).do == "refuse"


def test_of_two_statements_a_rule_takes_the_better():
    bad = replace(KEY, checks=(CHECKS["contraindicated"],))
    under = policy({"name": "key", "verifier": "1"})
    assert appraised(under, ("1", bad), ("1", KEY)).do == "issue"


@attack(87)
@pytest.mark.parametrize(
    ("asked", "claims", "good"),
    [
        (ASKED, {"serial": "SN-1", "id": "router-1"}, True),
        (Asked("SN-2", "router-1"), {"serial": "SN-1", "id": "router-1"}, False),
        (Asked(None, "router-1"), {"serial": "SN-1", "id": "router-1"}, False),
        (ASKED, {"serial": "SN-1", "id": "router-2"}, False),
        (ASKED, {"serial": ["SN-1", "SN-2"], "id": "router-1"}, False),
        (ASKED, {}, False),
    ],
)
def test_the_claims_name_who_asks(asked, claims, good):
    under = policy(identity={"subject_serial_number": "serial", "device_id": "id"})
    found = appraised(under, ("1", replace(KEY, claims=claims)), ("2", BOOT), asked=asked)
    assert found.do == ("issue" if good else "refuse")
    assert good or found.code == "attestation.identity"


CLAIMS = {"fw": "1.10.2", "svn": 7, "on": True, "pcrs": {"sha256": {"7": "ab"}}, "list": ["a", "b"],
          "null": None, "mixed": ["a", {}], "empty": []}  # fmt: skip


@pytest.mark.parametrize(
    ("wanted", "passed"),
    [
        ({"claim": "fw", "at_least": "1.9"}, True), ({"claim": "fw", "at_least": "1.10.2.0"}, True),
        ({"claim": "fw", "at_least": "1.10.3"}, False), ({"claim": "fw", "at_most": "1.9"}, False),
        ({"claim": "svn", "at_least": "7", "at_most": "7"}, True),
        ({"claim": "svn", "at_least": "8"}, False),
        ({"claim": "on", "equals": "true"}, True), ({"claim": "on", "equals": "True"}, False),
        ({"claim": "pcrs.sha256.7", "one_of": ["ab", "cd"]}, True),
        ({"claim": "pcrs.sha256.7", "one_of": ["cd"]}, False),
        ({"claim": "pcrs.sha256", "one_of": ["ab"]}, False),
        ({"claim": "list", "one_of": ["a", "b", "c"]}, True),
        ({"claim": "list", "one_of": ["a"]}, False), ({"claim": "list", "none_of": ["b"]}, False),
        ({"claim": "list", "none_of": ["c"]}, True), ({"claim": "absent", "none_of": ["c"]}, False),
        ({"claim": "null", "none_of": ["c"]}, False), ({"claim": "mixed", "none_of": ["c"]}, False),
        ({"claim": "empty", "none_of": ["c"]}, False), ({"claim": "list", "at_least": "0"}, False),
        ({"claim": "fw.x", "equals": "1"}, False),
    ],
)  # fmt: skip
def test_a_claim_against_a_reference_value(wanted, passed):
    check = expectation_check(CLAIMS, Expectation.model_validate(wanted))
    assert check.passed is passed, check


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=10,
)


@examples(100, 0.01)
@given(st.dictionaries(st.sampled_from(["a", "b"]), json_values), st.sampled_from(["a", "a.b"]))
def test_no_claim_gives_anything_but_an_answer(claims, name):
    assert all(isinstance(text, str) for text in claim_texts(claims, name))
    for wanted in ({"equals": "1"}, {"at_least": "1"}, {"none_of": ["1"]}):
        expectation_check(claims, Expectation.model_validate({"claim": name, **wanted}))


def test_what_became_worse():
    good = appraised(policy(), ("1", KEY), ("2", BOOT))
    bad = appraised(policy(), ("1", KEY), ("2", replace(BOOT, checks=(CHECKS["warning"],))))
    before = Appraisal("a_1", "d", "p", NOW, "affirming",
                       {"key": "affirming", "boot": "affirming"}, good.policy)  # fmt: skip
    assert worse_than(None, bad) == ()
    assert worse_than(before, good) == ()
    assert worse_than(before, bad) == ("status: affirming to warning", "boot: affirming to warning")
    assert not differs(before, good)
    assert differs(before, bad)
    assert differs(None, good)
    assert differs(replace(before, policy=("gold", "1" * 64)), good)

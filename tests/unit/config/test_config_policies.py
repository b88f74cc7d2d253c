"""Policies with mistakes of form: what else is wrong is told in the same run, and nothing twice."""

from __future__ import annotations

import pytest
from config_world import PROFILE

RULE = "  - {name: key, verifier: tpm2-certify, trust: [acme]}\n"
DEVICE = "profiles/device.yaml"


@pytest.fixture
def told(folder):
    """Return a function from a policy's text and a profile's to what is wrong with both."""

    def tell(text: str, profile: str = "") -> list[str]:
        folder.write("policies/gold.yaml", text)
        folder.write(DEVICE, f"{PROFILE}attestation: {{policy: gold}}\n{profile}")
        return [problem.code for problem in folder.problems()]

    return tell


APPROVING = "on_result: {warning: {do: approve}}\n"
MANUAL = "approval: {mode: manual, when: \"attestation.status == 'warning'\"}\n"


def test_a_policy_that_lets_a_person_decide_needs_one(told):
    policy = f"version: 1\nrules:\n{RULE}{APPROVING}"
    assert told(policy) == ["E253"]
    assert told(policy, MANUAL) == []
    for outcome in ("affirming", "contraindicated", "none"):
        other = policy.replace("warning:", f"{outcome}:")
        assert told(other) == ["E253"]


def test_nobody_is_asked_for_a_person_where_that_may_be_said_already(told):
    """The profile's approval, or the policy's outcome, can't be told."""
    policy = f"version: 1\nrules:\n{RULE}{APPROVING}"
    assert told(policy, "approval: {mode: by-hand}\n") == ["E104"]
    broken = f"version: 1\nrules:\n{RULE}on_result: {{warning: {{do: aprove}}}}\n"
    assert told(broken) == ["E104"]
    both = f"version: 1\nrules:\n{RULE}on_result: {{none: {{do: no}}, warning: {{do: approve}}}}\n"
    assert told(both) == ["E104"]


def test_a_person_is_asked_for_beside_a_mistake_somewhere_else(told):
    assert told(f"version: 1\nrequire: al\nrules:\n{RULE}{APPROVING}") == ["E104", "E253"]
    unknown = RULE.replace("tpm2-certify", "tpm3")
    assert told(f"version: 1\nrules:\n{unknown}{APPROVING}") == ["E210", "E253"]


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("rules:\n" + RULE, ["E106"]),
        ("version: 1\n", ["E106"]),
        ("version: 1\nrules: []\n", ["E104"]),
        ("version: 1\nrules: key\n", ["E104"]),
        ("version: 1\nrules:\n  - key\n", ["E104"]),
        ("version: 1\nrules:\n  - {name: key}\n", ["E106"]),
        ("version: 1\nrules:\n  - {verifier: tpm2-certify, trust: [acme]}\n", ["E106"]),
        (
            "version: 1\nrules:\n  - {verifier: tpm2-certify}\n  - {verifier: tpm2-quote}\n",
            ["E106", "E106"],
        ),
        (
            "version: 1\nrules:\n  - {name: key, verifier: tpm2-certify, enforce: report, x: 1}\n",
            ["E104", "E105"],
        ),
        (
            "version: 1\nrequire: al\nrules:\n  - {name: key, verifier: eat}\n",
            ["E104", "E106"],
        ),
        ("version: 1\nrules:\n" + RULE + "on_result: {none: {do: isue}}\n", ["E104"]),
        (
            "version: 1\nrules:\n  - {name: k, verifier: eat, enforce: report-only, fresh: 1}\n",
            ["E251", "E106", "E104"],
        ),
        (
            "version: 1\nrules:\n  - {name: d, verifier: dice-x509, environments: [{svn: low}]}\n",
            ["E104"],
        ),
        ("version: 1\nno_such: 1\nrules:\n" + RULE + RULE, ["E105", "E206"]),
    ],
)
def test_each_mistake_is_told_once_and_beside_the_others(told, text, codes):
    assert told(text) == codes
